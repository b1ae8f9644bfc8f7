"""A job's history as server-sent events (HTML Standard, section 9.2).

An event's id is `ROW.PLACE`: the row of the state that it belongs to, and its place there. Both
rise, so an id says all that was seen, and any process can go on from it.

    17.0  status     queued
    18.0  status     running
    18.3  progress   step 3: of the state's own row, and the latest step alone
    18.7  progress   step 7
    19.0  candidate  the pictures come with the state that has them
    19.1  candidate
    19.2  status     succeeded: the last one, and the end

Progress has no rows: it is read from the job, so steps that nobody looked at in between are left
out, and so they are after a resume. It costs the database nothing, however many steps there are.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.rendering import links_of
from shared.jobs.shown import show_candidate
from shared.jobs.state import JobState
from shared.rounds import expected_steps
from shared.times import rfc3339

if TYPE_CHECKING:
    from api.context import Context
    from api.feeds import Follower
    from shared.jobs.history import History, Reached

RETRY_MS = 2000  #: after which a client comes back
HEARTBEAT_S = 13.0  #: at least: with `CHECK_S` never more than the 15 that clients are told
CHECK_S = 2.0  #: how often a silent stream looks whether it should go on
LONGEST_S = 3600.0  #: then a client comes back

Place = tuple[int, int]
START: Place = (0, 0)
_ID = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job."""

    place: Place
    type: str
    data: dict[str, Any]

    def encode(self) -> bytes:
        """As it goes over the wire; the JSON has no line break."""
        row, place = self.place
        data = json.dumps(self.data, separators=(",", ":"))
        return f"id: {row}.{place}\nevent: {self.type}\ndata: {data}\n\n".encode()


def place_of(last_event_id: str | None, history: History) -> Place:
    """What a client has seen; nothing, if it names no event of this job."""
    match = _ID.fullmatch(last_event_id or "")
    if match is None or int(match[1]) not in {state.id for state in history.reached}:
        return START
    return int(match[1]), int(match[2])


def events_after(history: History, place: Place, at: Context) -> list[Event]:
    """What happened to the job since; URLs are signed now."""
    job = history.job
    found = [event for state in history.reached for event in _events_of(state, history, at)]
    if job.status is JobState.RUNNING and job.step:
        steps = job.steps or expected_steps(job.spec)
        data = {"job": job.id, "attempt": job.attempt, "step": job.step, "steps": steps}
        found.append(Event((history.reached[-1].id, job.step), "progress", data))
    return [event for event in found if event.place > place]


def _events_of(state: Reached, history: History, at: Context) -> Iterator[Event]:
    """A state, after the pictures that came with it."""
    job, same = history.job, {"job": history.job.id, "attempt": state.attempt}
    is_success = state.status is JobState.SUCCEEDED and job.result is not None
    candidates = job.result["candidates"] if is_success and job.result else []
    for number, candidate in enumerate(candidates):
        picture = show_candidate(candidate, links_of(at), is_gone=job.pictures_gone_at is not None)
        yield Event((state.id, number), "candidate", same | picture)
    error = job.error if state.status is JobState.FAILED else None
    data = {**same, "status": state.status.value, "at": rfc3339(state.at), "error": error}
    yield Event((state.id, len(candidates)), "status", data)


def live(follower: Follower, place: Place, at: Context, connection: Any) -> Iterator[bytes]:
    """What happens to a job, as it happens, until it has ended or the stream must.

    A stream that ends before a final state is to be taken up again by its client.
    """
    spoke = began = time.monotonic()
    yield f"retry: {RETRY_MS}\n\n".encode()
    while not at.notifier.is_closed:
        is_new, history = follower.wait(CHECK_S), follower.feed.history
        now = time.monotonic()
        if history is None or follower.is_dismissed:
            return
        if now - began > LONGEST_S or _is_gone(connection):
            return
        if is_new and (events := events_after(history, place, at)):
            yield b"".join(event.encode() for event in events)
            place, spoke = events[-1].place, now
        if history.job.status.is_final:
            return
        if now - spoke >= HEARTBEAT_S:
            yield b": still here\n\n"
            spoke = now


def _is_gone(connection: socket.socket | None) -> bool:
    """Whether the client has closed its end: seen here, long before a write would fail."""
    if connection is None:
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except (BlockingIOError, ValueError):  # nothing to read; TLS knows no peeking
        return False
    except OSError:
        return True

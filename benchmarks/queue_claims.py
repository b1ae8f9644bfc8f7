"""From commit to claim, and jobs drained a second, beside Celery on its own.

Commit: `JobStore.submit` has returned. Claim: once as the row says (`claimed_at`, the database's
clock, on the same machine), once as the worker has the job in its hands, its claim committed.
Celery: from before `send_task` to the first line of the task. Half load: half of what was drained,
at random times.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select

from benchmarks.queue_load import middle_and_late
from benchmarks.queue_place import Owner, Place, Stoppable, an_owner
from benchmarks.queue_rival import NO_OP, bare_celery
from shared.edits import MaskRect
from shared.jobs.tables import jobs
from tests.crew import Member, wait_until
from tests.factories import a_spec

GOAL = 1.5
MASK = MaskRect(4, 4, 60, 44)
LIMIT_S = 120.0
SENDERS = 4
HALF_S = 10.0  #: how long half a load lasts, in each turn
TURNS = 3


@dataclass
class Waits:
    """Milliseconds of each job."""

    to_row: list[float] = field(default_factory=list)
    to_hand: list[float] = field(default_factory=list)
    celery: list[float] = field(default_factory=list)


class Ours:
    """Jobs for our worker."""

    def __init__(self, at: Place, owner: Owner, worker: Member) -> None:
        self._at, self._owner, self._worker = at, owner, worker
        self._committed: dict[str, float] = {}

    def submit(self) -> None:
        """As the API does it."""
        spec = a_spec(image=self._owner.image, mask=MASK)
        job = self._at.services.jobs.submit(self._owner.account, spec, {})
        self._committed[job.id] = time.time()
        self._at.services.wakeups.send("warp")

    def waits(self, waits: Waits) -> None:
        """Once all have been claimed: how long each waited."""
        wait_until(lambda: in_hand(self._worker).keys() >= self._committed.keys(), LIMIT_S)
        hands, rows = in_hand(self._worker), claimed_at(self._at)
        for job, since in self._committed.items():
            waits.to_row.append(1e3 * (rows[job] - since))
            waits.to_hand.append(1e3 * (hands[job] - since))
        self._committed.clear()


class Theirs:
    """Tasks for Celery's own worker."""

    def __init__(self, at: Place, worker: Member) -> None:
        self._app, self._worker = bare_celery(at.valkey.url), worker
        self._seen, self._sent = 0, 0

    def submit(self) -> None:
        """As anybody does it."""
        self._app.send_task(NO_OP, args=[time.time()])
        self._sent += 1

    def waits(self, waits: Waits) -> None:
        """Once all have begun: how long each waited."""
        wait_until(lambda: len(begun(self._worker)) >= self._sent, LIMIT_S)
        waits.celery += [1e3 * (began - sent) for sent, began in begun(self._worker)[self._seen :]]
        self._seen = self._sent


def in_hand(worker: Member) -> dict[str, float]:
    """When the worker had each job, its claim committed: seconds since 1970."""
    return {
        event["job"]: datetime.fromisoformat(event["timestamp"]).timestamp()
        for event in worker.events("job_claimed")
    }


def claimed_at(at: Place) -> dict[str, float]:
    """What the rows say, in seconds."""
    with at.services.database.reading_at_once() as connection:
        rows = connection.execute(select(jobs.c.id, jobs.c.claimed_at)).all()
    return {row.id: row.claimed_at / 1000 for row in rows if row.claimed_at}


def begun(worker: Member) -> list[tuple[float, float]]:
    """When each of Celery's own tasks was sent, and when it began."""
    words = (line.split() for line in worker.log.read_text().splitlines())
    return [(float(two[1]), float(two[2])) for two in words if two[:1] == ["began"]]


def claims(at: Place, asked: argparse.Namespace) -> Iterator[str]:
    """Idle, drained, at half load: ours and Celery's in turn, each with one worker process."""
    owner = an_owner(at.services, "waits")
    at.empty()
    drained: dict[str, list[float]] = {"ours": [], "theirs": []}
    with (
        at.working("benchmarks.queue_worker", threads=asked.threads) as us,
        at.working("benchmarks.queue_rival", "work", threads=asked.threads) as them,
    ):
        ours, theirs = Ours(at, owner, us), Theirs(at, them)
        idle = _idle(ours, theirs, asked.idle)
        for _ in range(TURNS):
            drained["ours"].append(_drain_ours(at, us, owner, asked.drained))
            drained["theirs"].append(_drain_theirs(theirs, them, asked.drained))
        rates = {name: statistics.median(those) for name, those in drained.items()}
        half = _half(ours, theirs, rates, HALF_S if not asked.short else 2.0)
    yield from (
        "## Commit to claim",
        "",
        f"One worker process of {asked.threads} threads. Ours: an engine that does nothing, but a",
        "small picture is fetched, encoded and stored again. Celery's: late acknowledgement, no",
        "result, a task that does nothing. The claim is in the row when the database says so",
        "(`claimed_at`), in hand when the worker has it, committed. Half load is half of what",
        f"was drained: {rates['ours'] / 2:.0f} and {rates['theirs'] / 2:.0f} a second, at random.",
        "",
        "| | p50 ms | p99 ms | p50, in Celery's |",
        "| --- | --- | --- | --- |",
        *_waits_table("idle", idle),
        *_waits_table("half load", half),
        "",
        f"Goal at idle: at most {GOAL} times Celery's p50.",
        "",
        "## Drained",
        "",
        f"{asked.drained} at once for the same workers, {TURNS} turns.",
        "",
        "| | jobs a second |",
        "| --- | --- |",
        f"| Towline | {rates['ours']:.0f} |",
        f"| Celery, nothing done | {rates['theirs']:.0f} |",
        f"| **ratio** | {rates['ours'] / rates['theirs']:.2f} |",
    )


def _waits_table(name: str, waits: Waits) -> Iterator[str]:
    celery, _ = middle_and_late(waits.celery)
    for what, those in (
        ("commit to claim in the row", waits.to_row),
        ("commit to claim in hand", waits.to_hand),
        ("Celery, sent to begun", waits.celery),
    ):
        middle, late = middle_and_late(those)
        yield f"| {name}: {what} | {middle:.1f} | {late:.1f} | {middle / celery:.2f} |"


def _idle(ours: Ours, theirs: Theirs, count: int) -> Waits:
    """One at a time, each for a worker that has nothing to do; the first few warm up."""
    for measured in (5, count):
        waits = Waits()
        for _ in range(measured):
            for side in (ours, theirs):
                side.submit()
                time.sleep(random.uniform(0.04, 0.08))
        ours.waits(waits)
        theirs.waits(waits)
    return waits


def _half(ours: Ours, theirs: Theirs, rates: dict[str, float], seconds: float) -> Waits:
    waits = Waits()
    for _ in range(TURNS):
        for side, rate in ((ours, rates["ours"] / 2), (theirs, rates["theirs"] / 2)):
            _at_random_times(side.submit, rate, seconds)
            side.waits(waits)
    return waits


def _at_random_times(call: Callable[[], None], rate: float, seconds: float) -> None:
    """Calls arrive as if nobody knew of anybody else (Poisson), whether the last one is over."""
    end = due = time.monotonic()
    end += seconds
    with ThreadPoolExecutor(SENDERS) as senders:
        futures = []
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            futures.append(senders.submit(call))
            due += random.expovariate(rate)
        for future in futures:
            future.result()


def _drain_ours(at: Place, worker: Stoppable, owner: Owner, count: int) -> float:
    """Jobs a second, from the first claim to the last end; all are queued before the first."""
    first = at.services.jobs.submit(owner.account, a_spec(image=owner.image, mask=MASK), {})
    with worker.stopped():
        ids = at.fill(first, count)
        at.services.wakeups.top_up("warp", count)

    def done() -> tuple[int, int] | None:
        those = (jobs.c.id.in_(ids), jobs.c.finished_at.is_not(None))
        query = select(func.count(), func.min(jobs.c.claimed_at), func.max(jobs.c.finished_at))
        with at.services.database.reading_at_once() as connection:
            number, began, ended = connection.execute(query.where(*those)).one()
        return (began, ended) if number == count else None

    began, ended = _wait_at_leisure(done)
    return 1e3 * count / (ended - began)


def _drain_theirs(theirs: Theirs, worker: Stoppable, count: int) -> float:
    """Tasks a second, from the first begun to the last."""
    before = len(begun(worker))
    with worker.stopped():
        for _ in range(count):
            theirs.submit()
    _wait_at_leisure(lambda: len(begun(worker)) >= before + count)
    times = sorted(began for _, began in begun(worker)[before:])
    theirs.waits(Waits())
    return (count - 1) / (times[-1] - times[0])


def _wait_at_leisure(happened: Callable[[], object]) -> Sequence[int]:
    """As `wait_until`, but seldom: looking costs what is measured."""
    limit_s = time.monotonic() + LIMIT_S
    while not (value := happened()):
        assert time.monotonic() < limit_s, "was not drained in time"
        time.sleep(0.25)
    return value  # type: ignore[return-value]

"""`Prefer: wait` (RFC 7240): one thread in each process looks for everybody who waits.

No waiting request holds a database connection. Past the limit of waiting requests, and
once the process is told to end, a wait is over at once and the job is answered as it is.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from shared.errors import TowlineError

if TYPE_CHECKING:
    from shared.jobs.store import JobStore

log = structlog.get_logger()

POLL_S = 0.05
LONGEST_S = 60.0
_WAIT = re.compile(r"(?:^|[,;]\s*)wait\s*=\s*\"?([0-9]+)\"?\s*(?=$|[,;])", re.IGNORECASE)


def wanted_wait_s(prefer: str | None) -> float | None:
    """Seconds that a `Prefer` header asks to wait, at most 60; None if it does not ask."""
    match = _WAIT.search(prefer or "")
    return min(float(match.group(1)), LONGEST_S) if match else None


class FinalWatcher:
    """Tells those who wait when their job has ended."""

    def __init__(self, jobs: JobStore, *, limit: int) -> None:
        self._jobs = jobs
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: dict[str, list[threading.Event]] = {}
        self._count = 0
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def wait(self, job_id: str, seconds: float) -> None:
        """Return once the job has ended, or the time, or this process's time, is over."""
        with self.seat() as has_seat:
            if has_seat:
                self._wait(job_id, seconds)

    @contextmanager
    def seat(self) -> Iterator[bool]:
        """A place among those who wait, for whatever; False if there is none left."""
        with self._changed:
            has_seat = not self._is_closed and self._count < self._limit
            self._count += has_seat
        try:
            yield has_seat
        finally:
            with self._changed:
                self._count -= has_seat

    def _wait(self, job_id: str, seconds: float) -> None:
        ended = threading.Event()
        with self._changed:
            self._waiting.setdefault(job_id, []).append(ended)
            self._start()
            self._changed.notify()
        try:
            ended.wait(seconds)
        finally:
            with self._changed:
                waiters = self._waiting.get(job_id, [])
                if ended in waiters:
                    waiters.remove(ended)
                if not waiters:
                    self._waiting.pop(job_id, None)

    def close(self) -> None:
        """End every wait, now and later; safe in a signal handler."""
        self._is_closed = True

    def _start(self) -> None:
        """In the process that serves, not in the one that forked it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="final-watcher", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job_ids = list(self._waiting)
            for job_id in self._ended(job_ids):
                with self._changed:
                    for event in self._waiting.pop(job_id, []):
                        event.set()
            time.sleep(POLL_S)

    def _ended(self, job_ids: list[str]) -> list[str]:
        if self._is_closed:
            return job_ids
        try:
            return list(self._jobs.final_among(job_ids))
        except TowlineError as error:
            log.warning("waiting_without_database", error=error.message)
        except Exception:  # the thread must go on: everybody who waits hangs on it
            log.exception("waiting_failed")
        return []

"""`Prefer: wait` (RFC 7240): held until the job has ended.

Past the limit of waiting requests, and once the process is told to end, a wait is over at
once and the job is answered as it is. Who looks is in `api/notifier.py`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from api.notifier import Notifier

LONGEST_S = 60.0
_WAIT = re.compile(r"(?:^|[,;]\s*)wait\s*=\s*\"?([0-9]+)\"?\s*(?=$|[,;])", re.IGNORECASE)


def wanted_wait_s(prefer: str | None) -> float | None:
    """Seconds that a `Prefer` header asks to wait, at most 60; None if it does not ask."""
    match = _WAIT.search(prefer or "")
    return min(float(match.group(1)), LONGEST_S) if match else None


class CanEnd(Protocol):
    """Where it is known what has ended."""

    def final_among(self, ids: Iterable[str]) -> set[str]:
        """Those that have ended or are gone."""


class FinalWatcher:
    """Tells those who wait when their job, or their batch, has ended."""

    def __init__(self, jobs: CanEnd, notifier: Notifier, *, limit: int) -> None:
        self._jobs = jobs
        self._notifier = notifier
        self._limit = limit
        self._waiting: dict[str, list[threading.Event]] = {}
        self._count = 0
        notifier.add(self)

    def wait(self, job_id: str, seconds: float) -> None:
        """Return once the job has ended, or the time, or this process's time, is over."""
        with self.seat() as has_seat:
            if has_seat:
                self._wait(job_id, seconds)

    @contextmanager
    def seat(self) -> Iterator[bool]:
        """A place among those who wait, for whatever; False if there is none left."""
        with self._notifier.lock:
            has_seat = not self._notifier.is_closed and self._count < self._limit
            self._count += has_seat
        try:
            yield has_seat
        finally:
            with self._notifier.lock:
                self._count -= has_seat

    def is_wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def look(self) -> None:
        """Tell those whose job has ended or is gone; everybody once the process is to end."""
        with self._notifier.lock:
            job_ids = list(self._waiting)
        ended = job_ids if self._notifier.is_closed else self._jobs.final_among(job_ids)
        with self._notifier.lock:
            for job_id in ended:
                for event in self._waiting.pop(job_id, []):
                    event.set()

    def _wait(self, job_id: str, seconds: float) -> None:
        ended = threading.Event()
        with self._notifier.lock:
            self._waiting.setdefault(job_id, []).append(ended)
            self._notifier.wake()
        try:
            ended.wait(seconds)
        finally:
            with self._notifier.lock:
                waiters = self._waiting.get(job_id, [])
                if ended in waiters:
                    waiters.remove(ended)
                if not waiters:
                    self._waiting.pop(job_id, None)

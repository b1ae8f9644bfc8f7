"""Doubles of our own: they keep the promises of what they stand for, without a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.jobs.job import Job
from shared.jobs.leases import Pulse

ALIVE = Pulse(is_lost=False, is_cancel_requested=False)
LOST = Pulse(is_lost=True, is_cancel_requested=False)
CANCEL_ASKED = Pulse(is_lost=False, is_cancel_requested=True)


@dataclass
class FakeLeaseStore:
    """The part of `LeaseStore` that a `Heart` needs: answers as it is told, and remembers."""

    answer: Callable[[Job], Pulse] = lambda job: ALIVE
    beats: list[tuple[str, int, int, int | None]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def heartbeat(self, job: Job, step: int, steps: int | None) -> Pulse:
        with self._changed:
            self.beats.append((job.id, job.attempt, step, steps))
            self._changed.notify_all()
        return self.answer(job)

    def wait_for(self, happened: Callable[[], object], limit_s: float = 10) -> None:
        """Until what the beats show has happened."""
        with self._changed:
            assert self._changed.wait_for(happened, limit_s), self.beats

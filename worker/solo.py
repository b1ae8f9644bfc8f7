"""Who runs beside whom in one process: a job that has lost a worker runs alone.

Whatever killed its last worker may be its own doing, so it gets no company to take along.
While such a suspect is here nothing new is claimed: a job that was claimed and only waits
would lose its lease with the process all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.jobs.job import Job

LOOK_S = 0.25  #: how often a suspect that waits looks whether it should stop


class Solo:
    """Many at once, or one that is suspected; a suspect that waits lets nobody new in."""

    def __init__(self) -> None:
        self._door = threading.Lock()  # one claim at a time, so that two suspects never meet
        self._changed = threading.Condition()
        self._inside = 0
        self._has_suspect = False

    @contextmanager
    def claimed(self, claim: Callable[[], Job | None]) -> Iterator[Job | None]:
        """Claim once no suspect is here, and count the job as here while the block runs."""
        with self._door:
            with self._changed:
                self._changed.wait_for(lambda: not self._has_suspect)
            job = claim()
            if job is not None:
                self._enter(job)
        try:
            yield job
        finally:
            if job is not None:
                self._leave(job)

    def wait_for_room(self, job: Job, check: Callable[[], None]) -> None:
        """Return once the job may run: a suspect when it is alone. `check` may raise meanwhile."""
        with self._changed:
            while job.losses and not self._changed.wait_for(lambda: self._inside == 1, LOOK_S):
                check()

    def _enter(self, job: Job) -> None:
        with self._changed:
            self._inside += 1
            self._has_suspect = job.losses > 0

    def _leave(self, job: Job) -> None:
        with self._changed:
            self._inside -= 1
            self._has_suspect = self._has_suspect and not job.losses
            self._changed.notify_all()

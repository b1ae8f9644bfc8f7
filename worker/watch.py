"""What a running job listens to, and how its lease is kept.

    Stopped                        raised inside the engine, between two steps
    ├── CancelAsked                its owner asked: canceled
    ├── DeadlinePassed             timeout_s since the first start is over: failed
    ├── WorkerDrains               this process is going away: back to the queue, no loss
    └── LeaseLost                  the job is somebody else's by now: nothing may be written

A `Lease` is what the engine calls between steps; it does no I/O. One `Heart` in each process
renews every lease in time and writes progress down soon after it was made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from shared.errors import TowlineError
from shared.jobs.job import Job
from shared.jobs.leases import LeaseStore

log = structlog.get_logger()

TICK_S = 0.25  #: how often the heart looks for progress to write


class Stopped(Exception):
    """The run ends here, through nobody's fault."""


class CancelAsked(Stopped):
    """The job's owner asked for it."""


class DeadlinePassed(Stopped):
    """The job's time is over."""


class WorkerDrains(Stopped):
    """This process is going away."""


class LeaseLost(Stopped):
    """Another attempt has the job by now."""


class Drain:
    """Whether this process is going away, and from when on its jobs must stop."""

    def __init__(self) -> None:
        self._stop_at: float | None = None

    def begin(self, grace_s: float) -> None:
        """Take nothing more; jobs that still run after `grace_s` are given back.

        Being told again makes it quicker: they are given back now.
        """
        now = time.monotonic()
        self._stop_at = now + grace_s if self._stop_at is None else min(self._stop_at, now)

    @property
    def has_begun(self) -> bool:
        """Whether to take no more jobs."""
        return self._stop_at is not None

    @property
    def is_over(self) -> bool:
        """Whether running jobs must stop now."""
        return self._stop_at is not None and time.monotonic() >= self._stop_at


class Lease:
    """One running job, as its engine sees it: a `Watch` (see `worker/engines/base.py`)."""

    def __init__(self, job: Job, drain: Drain, lease_s: float) -> None:
        self.job = job
        self.done, self.steps = 0, job.steps
        self._drain = drain
        self._lease_s = lease_s
        self._stop: Stopped | None = None
        # From before the claim was sent: the database's lease began after that.
        self._renewed = time.monotonic() if job.claim_sent is None else job.claim_sent
        self._ends = self._renewed + _seconds_left(job)

    def step(self, done: int, steps: int) -> None:
        """Note the progress; raises the `Stopped` that should end the run."""
        self.done, self.steps = done, steps
        self.check()

    def check(self) -> None:
        """Raise the `Stopped` that should end the run, if there is one."""
        if self._stop is not None:
            raise self._stop
        if self.left_s <= 0:
            raise LeaseLost(f"the lease of {self.job.id} ran out before it could be renewed")
        if time.monotonic() >= self._ends:
            raise DeadlinePassed(f"{self.job.spec.timeout_s} s since its first start are over")
        if self._drain.is_over:
            raise WorkerDrains("this worker is going away")

    @property
    def left_s(self) -> float:
        """How long the lease lasts at least, as it was renewed last; 0 or less: it may be over."""
        return self._renewed + self._lease_s - time.monotonic()

    def stop(self, reason: Stopped) -> None:
        """End the run at its next step."""
        self._stop = self._stop or reason

    def renewed(self, at: float) -> None:
        """The database extended the lease; it was asked at `at`, by this process's clock."""
        self._renewed = at


def _seconds_left(job: Job) -> float:
    """Until the deadline, by the database's clock at the time of the claim."""
    if job.deadline_at is None or job.claimed_at is None:
        return float(job.spec.timeout_s)
    return (job.deadline_at - job.claimed_at) / 1000


class Heart:
    """Keeps the leases of one process."""

    def __init__(
        self, leases: LeaseStore, drain: Drain, *, lease_s: float, heartbeat_s: float
    ) -> None:
        self._store = leases
        self._drain = drain
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        # By lease, not by job: this process may have claimed the same job again meanwhile.
        self._running: dict[Lease, tuple[float, int]] = {}  # when progress was written, and which
        self._thread: threading.Thread | None = None

    @property
    def is_draining(self) -> bool:
        """Whether this process takes no more jobs."""
        return self._drain.has_begun

    @contextmanager
    def keep(self, job: Job) -> Iterator[Lease]:
        """Keep the job's lease for as long as the block runs."""
        lease = Lease(job, self._drain, self._lease_s)
        with self._lock:
            self._running[lease] = (time.monotonic(), 0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)
                self._thread.start()
        try:
            yield lease
        finally:
            with self._lock:
                del self._running[lease]

    def give_back_all(self) -> None:
        """Put back what still runs here, whatever it does: this process ends now.

        What a run writes after that is fenced off by the attempt.
        """
        with self._lock:
            leases = list(self._running)
        for lease in leases:
            job = lease.job
            try:
                if self._store.give_back(job):
                    log.info("job_stopped", reason=WorkerDrains.__name__, job=job.id)
            except TowlineError as error:
                log.warning("job_not_given_back", job=job.id, error=error.message)

    def _beat(self) -> None:
        while True:
            time.sleep(min(TICK_S, self._heartbeat_s))
            for lease in self._due():
                try:
                    self._renew(lease)
                except (
                    Exception
                ):  # the heart must not stop: every lease of this process hangs on it
                    log.exception("heartbeat_failed", job=lease.job.id)

    def _due(self) -> list[Lease]:
        now = time.monotonic()
        with self._lock:
            return [
                lease
                for lease, (written_at, done) in self._running.items()
                if now - written_at >= self._heartbeat_s or lease.done != done
            ]

    def _renew(self, lease: Lease) -> None:
        asked_at, done = time.monotonic(), lease.done
        try:
            pulse = self._store.heartbeat(lease.job, done, lease.steps)
        except TowlineError as error:  # the next tick tries again, for as long as the lease lasts
            log.warning("heartbeat_failed", job=lease.job.id, error=error.message)
            return
        if pulse.is_lost:
            lease.stop(LeaseLost(f"another attempt has {lease.job.id}"))
        else:
            lease.renewed(asked_at)
        if pulse.is_cancel_requested:
            lease.stop(CancelAsked("its owner asked"))
        with self._lock:
            if lease in self._running:
                self._running[lease] = (asked_at, done)

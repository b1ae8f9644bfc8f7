"""Bugs to be planted in the workers, each of which the oracle must find.

Each breaks one promise by leaving out, or doing wrong, one thing that the product does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, update

import worker.watch
from shared.db import now_ms
from shared.jobs.job import Job
from shared.jobs.leases import LeaseStore, Pulse
from shared.jobs.moves import record_events
from shared.jobs.state import JobState
from shared.jobs.tables import jobs
from shared.services import Services

OFTEN = 0.2  #: how often it is done wrong, where it is not always
chance = random.Random()


@dataclass(frozen=True)
class Bug:
    """What is planted, and under which names the oracle would tell of it."""

    plant: Callable[[Services], Services]
    found_as: frozenset[str]
    says: str


class Planted(LeaseStore):
    """The real store, to be made worse."""

    def __init__(self, services: Services) -> None:
        self.__dict__.update(services.leases.__dict__)

    def _set(self, job_id: str, **values: Any) -> None:
        """Write over a row, whatever it says."""
        with self._database.writing() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


class Unfenced(Planted):
    """A worker whose lease was taken goes on, and writes its result over what is there."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        worker.watch.Lease.left_s = property(lambda self: 1.0)  # type: ignore[assignment,method-assign]

    def heartbeat(self, job: Job, step: int, steps: int | None) -> Pulse:
        super().heartbeat(job, step, steps)
        return Pulse(is_lost=False, is_cancel_requested=False)

    def succeed(self, job: Job, result: dict[str, Any], steps: int | None = None) -> bool:
        if super().succeed(job, result, steps):
            return True
        timings = {**result["timings"], "queued_ms": 0, "total_ms": 0}
        self._set(
            job.id, status="succeeded", result={**result, "timings": timings}, error=None,
            finished_at=now_ms(), lease_until=None,
        )  # fmt: skip
        with self._database.writing() as connection:
            record_events(connection, [replace(job, status=JobState.SUCCEEDED)])
        return True


class Forgetful(Planted):
    """A job is sometimes deleted when it is claimed."""

    def claim_next(self, engine: str, worker_id: str) -> Job | None:
        job = super().claim_next(engine, worker_id)
        if job is not None and chance.random() < OFTEN:
            with self._database.writing() as connection:
                connection.execute(delete(jobs).where(jobs.c.id == job.id))
        return job


class Repeating(Planted):
    """A job that has succeeded is sometimes put back, and runs again."""

    def succeed(self, job: Job, result: dict[str, Any], steps: int | None = None) -> bool:
        did = super().succeed(job, result, steps)
        if did and job.attempt == 1 and chance.random() < OFTEN:
            self._set(job.id, status="queued", result=None, finished_at=None, run_after=0)
        return did


class Rewriting(Planted):
    """A result is sometimes another one a moment after it was recorded."""

    def succeed(self, job: Job, result: dict[str, Any], steps: int | None = None) -> bool:
        did = super().succeed(job, result, steps)
        if did and self._last is not None and chance.random() < OFTEN:
            self._set(self._last, error={"code": "changed", "message": "", "retryable": False})
        self._last = job.id
        return did

    _last: str | None = None


class Deaf(Planted):
    """A heartbeat does not tell that the owner asked to cancel."""

    def heartbeat(self, job: Job, step: int, steps: int | None) -> Pulse:
        pulse = super().heartbeat(job, step, steps)
        return replace(pulse, is_cancel_requested=False)


class Careless:
    """The object store, which sometimes says that it has stored what it has not."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def put(self, key: str, data: bytes) -> None:
        if chance.random() > OFTEN:
            self._objects.put(key, data)


def _leases(store: Callable[[Services], LeaseStore]) -> Callable[[Services], Services]:
    return lambda services: replace(services, leases=store(services))


def _careless(services: Services) -> Services:
    objects: Any = Careless(services.objects)
    return replace(services, objects=objects)


def _immortal(services: Services) -> Services:
    upkeep = copy(services.upkeep)
    upkeep._max_losses = 1000
    return replace(services, upkeep=upkeep)


def _late(services: Services) -> Services:
    """Leases are given for longer than is said."""
    leases = copy(services.leases)
    leases._lease_ms *= 2
    return replace(services, leases=leases)


BUGS: dict[str, Bug] = {
    "unfenced": Bug(
        _leases(Unfenced),
        frozenset({"double", "changed", "mixed", "history"}),
        "an attempt whose lease was taken writes its result all the same",
    ),
    "unstored": Bug(
        _careless, frozenset({"no_object"}), "a job succeeds though its picture was not stored"
    ),
    "forgotten": Bug(_leases(Forgetful), frozenset({"lost"}), "a claimed job is deleted"),
    "repeated": Bug(
        _leases(Repeating), frozenset({"double"}), "a job that has succeeded runs again"
    ),
    "rewritten": Bug(
        _leases(Rewriting), frozenset({"changed"}), "a final job is changed afterwards"
    ),
    "immortal": Bug(_immortal, frozenset({"attempts"}), "a poison job is never given up"),
    "deaf": Bug(_leases(Deaf), frozenset({"cancel"}), "a running job does not hear of its cancel"),
    "late": Bug(_late, frozenset({"late"}), "a killed worker's job is taken back too late"),
}

"""What happened to jobs, for those who watch them. One transaction a method.

The order of a job's events is that of their ids: whoever writes one has changed the job's row in
the same transaction and holds it until the commit, so the next one draws a higher id and becomes
visible later (a sequence that hands out ids in blocks, `CACHE`, would break that).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from shared.errors import NotFound
from shared.jobs.job import Job, job_from_row
from shared.jobs.state import JobState
from shared.jobs.tables import job_events, jobs

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from shared.db import Database

#: Status, attempt, step, steps: changes whenever something happens that is worth telling.
Version = tuple[str, int, int, int | None]


@dataclass(frozen=True, slots=True)
class Reached:
    """A state that a job reached; `at` in milliseconds since 1970, `id` rises with each."""

    id: int
    status: JobState
    attempt: int
    at: int


@dataclass(frozen=True, slots=True)
class History:
    """A job, and every state that it reached until then, the first one first."""

    job: Job
    reached: tuple[Reached, ...]

    @property
    def version(self) -> Version:
        """What `changed` compares."""
        return (self.job.status.value, self.job.attempt, self.job.step, self.job.steps)


class HistoryStore:
    """What those who watch jobs may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, account_id: str, job_id: str) -> History:
        """The history of an account's job; `NotFound`."""
        with self._database.reading() as connection:
            found = _read(connection, [job_id])
        if job_id not in found or found[job_id].job.account_id != account_id:
            raise NotFound(f"There is no job {job_id}.")
        return found[job_id]

    def changed(self, known: Mapping[str, Version]) -> dict[str, History | None]:
        """The jobs that are not as they are known, as they are now; None: deleted."""
        columns = (jobs.c.status, jobs.c.attempt, jobs.c.step, jobs.c.steps)
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs.c.id, *columns).where(jobs.c.id.in_(list(known))))
            now: dict[str, tuple[Any, ...]] = {row[0]: tuple(row[1:]) for row in rows}
            changed = [job_id for job_id, version in now.items() if version != known[job_id]]
            found = _read(connection, changed) if changed else {}
        return {**found, **dict.fromkeys(known.keys() - now.keys())}


def _read(connection: Connection, job_ids: Iterable[str]) -> dict[str, History]:
    """Jobs and their events as they are at one moment."""
    wanted = list(job_ids)
    reached: dict[str, list[Reached]] = {job_id: [] for job_id in wanted}
    events = connection.execute(
        select(job_events)
        .where(job_events.c.job_id.in_(wanted), job_events.c.type == "status")
        .order_by(job_events.c.id)
    )
    for row in events:
        status, attempt = JobState(row.data["status"]), row.data["attempt"]
        reached[row.job_id].append(Reached(row.id, status, attempt, row.created_at))
    rows = connection.execute(select(jobs).where(jobs.c.id.in_(wanted)))
    found = [job_from_row(row) for row in rows]
    return {job.id: History(job, tuple(reached[job.id])) for job in found}

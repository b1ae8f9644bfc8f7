"""Jobs as their owners see them: submit, look, cancel, delete. One transaction a method.

Every method takes the account; another account's job does not exist for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, insert, literal, select, tuple_, update

from shared.db import now_ms
from shared.errors import InvalidRequest, JobNotFinal, NotFound, Violation
from shared.ids import new_id
from shared.images.tables import images
from shared.jobs.job import Job, job_from_row
from shared.jobs.labels import add_labels, with_labels
from shared.jobs.moves import move_jobs, record_event
from shared.jobs.state import FINAL, JobState, Move
from shared.jobs.tables import QUEUED, RUNNING, jobs
from shared.jobs.turns import enter_line

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row, Subquery

    from shared.db import Database
    from shared.edits import JobSpec


CEILING = 10_000  #: rows that a count looks at


class JobStore:
    """What owners may do with jobs."""

    def __init__(self, database: Database, *, result_retention_days: float) -> None:
        self._database = database
        self._retention_ms = int(result_retention_days * 86_400_000)

    def submit(
        self,
        account_id: str,
        spec: JobSpec,
        metadata: Mapping[str, str],
        retried_from: str | None = None,
    ) -> Job:
        """Promise a job: one row, `queued`, and its event.

        The images are looked at again inside the transaction, so that none can be
        deleted between the check and the promise; `InvalidRequest` if one was.
        """
        with self._database.writing() as connection:
            _hold_images(connection, account_id, spec)
            now = connection.scalar(select(now_ms()))
            row = connection.execute(
                insert(jobs)
                .values(**_new_row(account_id, spec, metadata, now or 0), retried_from=retried_from)
                .returning(*jobs.c)
            ).one()
            job = job_from_row(row)
            add_labels(connection, account_id, job.id, metadata)
            record_event(connection, job)
            enter_line(connection, spec.engine, account_id)
        return job

    def get(self, account_id: str, job_id: str) -> Job:
        """The job as it is now; `NotFound`."""
        with self._database.reading() as connection:
            return _read(connection, account_id, job_id)

    def page(
        self,
        account_id: str,
        *,
        limit: int,
        before: str | None = None,
        status: JobState | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> list[Job]:
        """At most `limit` jobs, newest first, older than the job `before`."""
        query, place = with_labels(account_id, metadata or {})
        if before is not None:
            query = query.where(place < before)
        if status is not None:
            query = query.where(jobs.c.status == status.value)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(place.desc()).limit(limit)).all()
        return [job_from_row(row) for row in rows]

    def cancel(self, account_id: str, job_id: str) -> Job:
        """Cancel a queued job at once, ask a running one to stop, leave a final one alone."""
        mine = and_(jobs.c.id == job_id, jobs.c.account_id == account_id)
        with self._database.writing() as connection:
            # Held, or it could go from running to queued between the two statements
            connection.execute(select(jobs.c.id).where(mine).with_for_update())
            if not move_jobs(
                connection,
                Move.CANCEL,
                mine,
                QUEUED,
                cancel_requested_at=now_ms(),
                finished_at=now_ms(),
                retain_until=now_ms() + self._retention_ms,
            ):
                connection.execute(
                    update(jobs)
                    .where(mine, RUNNING)
                    .where(jobs.c.cancel_requested_at.is_(None))
                    .values(cancel_requested_at=now_ms())
                )
            return _read(connection, account_id, job_id)

    def delete(self, account_id: str, job_id: str) -> Job:
        """Forget a final job; what it was, so that its objects can go too. `JobNotFinal`."""
        with self._database.writing() as connection:
            job = _read(connection, account_id, job_id)
            if not job.status.is_final:
                raise JobNotFinal(f"{job_id} is {job.status}; cancel it first.")
            connection.execute(delete(jobs).where(jobs.c.id == job_id))
        return job

    def final_among(self, job_ids: Iterable[str]) -> set[str]:
        """Those of these jobs that have ended or are gone: nobody needs to wait for them."""
        wanted = set(job_ids)
        with self._database.reading() as connection:
            active = connection.scalars(
                select(jobs.c.id).where(
                    jobs.c.id.in_(wanted), jobs.c.status.not_in([s.value for s in FINAL])
                )
            ).all()
        return wanted - set(active)

    def places(self, account_id: str, engine: str, job_ids: Iterable[str]) -> dict[str, int]:
        """How many jobs will start before each of these queued ones; 0 is next.

        Accounts take turns, so a job with r of its own account's jobs before it also
        waits for at most r + 1 jobs of every other account. Beyond `CEILING` it is a
        lower bound.
        """
        wanted = list(job_ids)
        with self._database.reading() as connection:
            ranks = _ranks(connection, account_id, engine, wanted)
            others = _counts_of_others(connection, account_id, engine) if ranks else []
        return {
            job_id: rank + sum(min(count, rank + 1) for count in others)
            for job_id, rank in ranks.items()
        }

    def next_place(self, account_id: str, engine: str, priority: int) -> int:
        """How many jobs would start before one that the account submitted now; see `places`."""
        own = and_(_queued(engine), jobs.c.account_id == account_id, jobs.c.priority <= priority)
        with self._database.reading() as connection:
            rank = connection.scalar(select(func.count()).select_from(_counted(own))) or 0
            others = _counts_of_others(connection, account_id, engine)
        return rank + sum(min(count, rank + 1) for count in others)


def _queued(engine: str) -> ColumnElement[bool]:
    return and_(jobs.c.engine == engine, QUEUED)


def _ranks(
    connection: Connection, account_id: str, engine: str, job_ids: list[str]
) -> dict[str, int]:
    """How many of the account's own jobs go before each of these that are queued."""
    own = and_(_queued(engine), jobs.c.account_id == account_id)
    place = tuple_(jobs.c.priority, jobs.c.id)
    wanted = connection.execute(
        select(jobs.c.id, jobs.c.priority)
        .where(own, jobs.c.id.in_(job_ids))
        .order_by(jobs.c.priority, jobs.c.id)
    ).all()
    if not wanted:
        return {}
    last = tuple_(literal(wanted[-1].priority), literal(wanted[-1].id))
    before = select(jobs.c.id).where(own, place <= last).order_by(jobs.c.priority, jobs.c.id)
    line = connection.scalars(before.limit(CEILING)).all()
    ranks = {job_id: rank for rank, job_id in enumerate(line)}
    return {row.id: ranks.get(row.id, CEILING) for row in wanted}


def _counts_of_others(connection: Connection, account_id: str, engine: str) -> list[int]:
    """How many jobs each other account has queued; two ranges, so that the own are not read."""
    counts: list[int] = []
    for side in (jobs.c.account_id < account_id, jobs.c.account_id > account_id):
        those = _counted(_queued(engine), side)
        counts += connection.scalars(
            select(func.count()).select_from(those).group_by(those.c.account_id)
        )
    return counts


def _counted(*where: ColumnElement[bool]) -> Subquery:
    """Rows to be counted, `CEILING` at the most: a count must not grow with the queue."""
    return (
        select(jobs.c.account_id)
        .where(*where)
        .order_by(jobs.c.account_id)
        .limit(CEILING)
        .subquery()
    )


def _hold_images(connection: Connection, account_id: str, spec: JobSpec) -> None:
    """Make sure that the job's images are there, and stay until the job is written."""
    for pointer, image_id in (("/image", spec.image), ("/mask", spec.mask_image)):
        if image_id is None:
            continue
        row = connection.execute(
            select(images.c.object_key)
            .where(images.c.id == image_id, images.c.account_id == account_id)
            .with_for_update(read=True, key_share=True)
        ).first()
        if row is None:
            detail = f"there is no image {image_id}"
            raise InvalidRequest([Violation(pointer, "image_not_found", detail)])
        if row.object_key is None:
            detail = f"the bytes of {image_id} were not completed"
            raise InvalidRequest([Violation(pointer, "image_not_uploaded", detail)])


def _new_row(
    account_id: str, spec: JobSpec, metadata: Mapping[str, str], now: int
) -> dict[str, object]:
    return {
        "id": new_id("job"),
        "account_id": account_id,
        "engine": spec.engine,
        "priority": int(spec.priority),
        "spec": spec.to_json(),
        "metadata": dict(metadata),
        "image_id": spec.image,
        "mask_id": spec.mask_image,
        "timeout_s": spec.timeout_s,
        "status": JobState.QUEUED.value,
        "attempt": 0,
        "losses": 0,
        "retries": 0,
        "run_after": 0,
        "step": 0,
        "created_at": now,
        "expires_at": None if spec.expires_in_s is None else now + 1000 * spec.expires_in_s,
    }


def _read(connection: Connection, account_id: str, job_id: str) -> Job:
    row: Row[tuple[object, ...]] | None = connection.execute(
        select(jobs).where(jobs.c.id == job_id, jobs.c.account_id == account_id)
    ).first()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return job_from_row(row)

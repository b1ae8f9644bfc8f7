"""What the sweep does to jobs. Every method is safe to run twice, and by many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from shared.accounts.usage import STORED_BYTES, add_usage
from shared.db import now_ms
from shared.errors import TimedOut, TowlineError, WorkerLost
from shared.jobs.job import Job, job_from_row
from shared.jobs.leases import RELEASED, error_to_json, is_due
from shared.jobs.moves import move_jobs
from shared.jobs.pointers import KNOWN, let_go
from shared.jobs.state import Move
from shared.jobs.tables import ACTIVE, QUEUED, RUNNING, jobs, turns
from shared.jobs.turns import SLICE as LEAVE_SLICE
from shared.jobs.turns import leave_line

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from shared.db import Database

log = structlog.get_logger()

SLICE = 200  #: rows that one transaction touches at the most
LINE_SLICES = 50  #: slices of idle accounts that one sweep takes out of a line


#: Moves the jobs that match.
Act = Callable[..., list[Job]]

_IS_ASKED = jobs.c.cancel_requested_at.is_not(None)


class Upkeep:
    """Takes back, expires, fails and forgets what is due for it."""

    def __init__(
        self,
        database: Database,
        *,
        max_losses: int,
        result_retention_days: float,
        job_retention_days: float,
        lease_s: float,
    ) -> None:
        self._database = database
        self._lease_ms = int(lease_s * 1000)
        self._max_losses = max_losses
        self._retention_ms = int(result_retention_days * 86_400_000)
        self._job_retention_ms = int(job_retention_days * 86_400_000)

    def take_back_expired_leases(self) -> list[Job]:
        """Requeue the jobs whose worker went silent; quarantine at the third loss.

        A job whose owner asked to cancel is canceled; one past its deadline has failed.
        """
        lapsed = (RUNNING, jobs.c.lease_until < now_ms())
        lost = {"lease_until": None, "losses": jobs.c.losses + 1}
        ended = {**lost, **self._ended()}
        error = error_to_json(self._quarantine())
        is_last = jobs.c.losses + 1 >= self._max_losses

        def take_back(connection: Connection, *those: ColumnElement[bool]) -> list[Job]:
            return [
                *move_jobs(connection, Move.CANCEL, *those, _IS_ASKED, **ended),
                *move_jobs(connection, Move.FAIL, *those, is_last, error=error, **ended),
                *move_jobs(connection, Move.REQUEUE, *those, **{**RELEASED, **lost}),
            ]

        return self._settle(take_back, *lapsed)

    def expire_waiting(self) -> list[Job]:
        """End the jobs that nobody could start before their `expires_at`."""
        ended = self._ended()

        def expire(connection: Connection, *those: ColumnElement[bool]) -> list[Job]:
            return move_jobs(connection, Move.EXPIRE, *those, **ended)

        late = (QUEUED, jobs.c.expires_at < now_ms(), jobs.c.started_at.is_(None))
        return self._settle(expire, *late)

    def fail_overdue(self) -> list[Job]:
        """Fail the jobs whose `timeout_s` since the first start is over.

        Those that wait again; and those that run on long after it, since an engine that
        hangs makes no step at which it could be stopped.
        """
        has_run_on = jobs.c.deadline_at < now_ms() - self._lease_ms
        late = (ACTIVE, jobs.c.deadline_at < now_ms(), or_(QUEUED, has_run_on))
        error = error_to_json(TimedOut("The job's timeout_s passed before it could end."))
        ended = {**self._ended(), "lease_until": None}

        def fail(connection: Connection, *those: ColumnElement[bool]) -> list[Job]:
            return [
                *move_jobs(connection, Move.CANCEL, *those, _IS_ASKED, **ended),
                *move_jobs(connection, Move.FAIL, *those, error=error, **ended),
            ]

        return self._settle(fail, *late)

    def _settle(self, act: Act, *where: ColumnElement[bool]) -> list[Job]:
        """`act` on a slice of these jobs; if that breaks, on one after the other.

        So a row that this process cannot read (a newer one wrote it) holds up no other.
        """
        try:
            return self._act(act, *where)
        except (TowlineError, SQLAlchemyError):
            raise
        except Exception:
            log.exception("slice_not_settled")
        with self._database.reading() as connection:
            ids = connection.scalars(select(jobs.c.id).where(*where).limit(SLICE)).all()
        settled = []
        for job_id in ids:
            try:
                settled += self._act(act, jobs.c.id == job_id, *where)
            except (TowlineError, SQLAlchemyError):
                raise
            except Exception:
                log.exception("job_not_settled", job=job_id)
        return settled

    def _act(self, act: Act, *where: ColumnElement[bool]) -> list[Job]:
        with self._database.writing() as connection:
            ids = _slice(connection, *where)
            return act(connection, jobs.c.id.in_(ids), *where) if ids else []

    def due_by_engine(self, limit: int = SLICE) -> dict[str, int]:
        """How many jobs could be claimed now, by engine; none is counted beyond `limit`."""
        with self._database.reading() as connection:
            engines = connection.scalars(select(turns.c.engine).distinct()).all()
            due = {engine: _count_due(connection, engine, limit) for engine in engines}
        return {engine: count for engine, count in due.items() if count}

    def due(self, engine: str, limit: int) -> int:
        """How many jobs of an engine could be claimed now, counted up to `limit`."""
        with self._database.reading() as connection:
            return _count_due(connection, engine, limit)

    def shorten_lines(self) -> None:
        """Take the accounts that have nothing queued out of the heads of the engines' lines."""
        with self._database.reading() as connection:
            engines = connection.scalars(select(turns.c.engine).distinct()).all()
        for engine in engines:
            for _ in range(LINE_SLICES):
                with self._database.writing() as connection:
                    if leave_line(connection, engine) < LEAVE_SLICE:
                        break

    def results_past_retention(self) -> list[Job]:
        """A slice of the jobs whose pictures may go: say so, then delete these."""
        return self._slice_by(
            jobs.c.retain_until,
            jobs.c.pictures_gone_at.is_(None),
            jobs.c.retain_until < now_ms(),
        )

    def say_that_pictures_are_gone(self, job: Job) -> bool:
        """The row stays, and points to nothing any more; whether its pictures are to go now.

        Then its account has their room again. They stay while another job points to them.
        """
        this = (jobs.c.id == job.id, jobs.c.pictures_gone_at.is_(None))
        with self._database.writing() as connection:
            held = select(*KNOWN).where(*this).with_for_update(key_share=True)
            row = connection.execute(held).first()
            if row is None:  # a rival was faster, and sees to the pictures
                return False
            gone = update(jobs).where(*this).values(pictures_gone_at=now_ms(), stored_bytes=None)
            connection.execute(gone)
            return let_go(connection, row).has_pictures

    def jobs_past_retention(self) -> list[Job]:
        """A slice of the jobs that may be forgotten: their pictures went before."""
        return self._slice_by(
            jobs.c.finished_at,
            jobs.c.pictures_gone_at.is_not(None),
            jobs.c.finished_at < now_ms() - self._job_retention_ms,
        )

    def _slice_by(self, column: ColumnElement[int], *where: ColumnElement[bool]) -> list[Job]:
        with self._database.reading() as connection:
            rows = connection.execute(
                select(jobs).where(*where).order_by(column).limit(SLICE)
            ).all()
        return [job_from_row(row) for row in rows]

    def forget(self, job: Job) -> None:
        """Delete the row of a job, and its events with it."""
        with self._database.writing() as connection:
            this = delete(jobs).where(jobs.c.id == job.id).returning(jobs.c.stored_bytes)
            stored_bytes = connection.scalar(this)
            add_usage(connection, job.account_id, STORED_BYTES, -(stored_bytes or 0))

    def _ended(self) -> dict[str, object]:
        return {"finished_at": now_ms(), "retain_until": now_ms() + self._retention_ms}

    def _quarantine(self) -> WorkerLost:
        return WorkerLost(
            f"{self._max_losses} workers were lost while they ran this job; it is not tried again."
        )


def _count_due(connection: Connection, engine: str, limit: int) -> int:
    those = select(jobs.c.id).where(jobs.c.engine == engine, is_due()).limit(limit)
    return connection.scalar(select(func.count()).select_from(those.subquery())) or 0


def _slice(connection: Connection, *where: ColumnElement[bool]) -> list[str]:
    """Some of these jobs, held for this transaction; those that a rival holds are left to it."""
    query = select(jobs.c.id).where(*where).limit(SLICE).with_for_update(skip_locked=True)
    return list(connection.scalars(query))

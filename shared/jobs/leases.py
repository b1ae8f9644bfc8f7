"""Jobs as workers see them: claim, keep, and give an outcome. One transaction a method.

A claim gives the next attempt number; everything a worker writes afterwards is written
`WHERE attempt = :mine AND status = 'running'`. A worker whose lease was taken (it was
slow, cut off, or asleep) therefore changes nothing, and is told so by False or `lost`.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select, update

from shared.db import now_ms
from shared.errors import TowlineError
from shared.jobs.job import Job
from shared.jobs.moves import move_jobs
from shared.jobs.state import RETRY_JITTER, Move, retry_delay_s
from shared.jobs.tables import QUEUED, RUNNING, SUCCEEDED, jobs, turns
from shared.jobs.turns import first_of, line_of, note_turn

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from shared.db import Database

SHARED = 100  #: accounts that a claim looks through when rivals serve them all


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat learnt about the job it was for."""

    is_lost: bool
    is_cancel_requested: bool


class LeaseStore:
    """What workers may do with jobs."""

    def __init__(self, database: Database, *, lease_s: float, result_retention_days: float) -> None:
        self._database = database
        self._lease_ms = int(lease_s * 1000)
        self._retention_ms = int(result_retention_days * 86_400_000)

    def claim_next(self, engine: str, worker_id: str) -> Job | None:
        """Claim the next job of an engine; None when nothing is due.

        Accounts take turns; inside an account higher priority goes first, then age. What a
        rival is claiming at this moment is passed over, not waited for.
        """
        claim_sent = time.monotonic()
        with self._database.writing() as connection:
            job_id = _next_due(connection, engine)
            if job_id is None:
                return None
            (job,) = self._claim(connection, job_id, worker_id)
        return replace(job, claim_sent=claim_sent)

    def _claim(self, connection: Connection, job_id: str, worker_id: str) -> list[Job]:
        now = now_ms()
        return move_jobs(
            connection,
            Move.CLAIM,
            jobs.c.id == job_id,
            attempt=jobs.c.attempt + 1,
            worker_id=worker_id,
            lease_until=now + self._lease_ms,
            claimed_at=now,
            started_at=func.coalesce(jobs.c.started_at, now),
            deadline_at=func.coalesce(jobs.c.deadline_at, now + jobs.c.timeout_s * 1000),
            step=0,
            steps=None,
        )

    def heartbeat(self, job: Job, step: int, steps: int | None) -> Pulse:
        """Renew the lease and write down the progress."""
        with self._database.writing() as connection:
            row = connection.execute(
                update(jobs)
                .where(_held_by(job))
                .values(lease_until=now_ms() + self._lease_ms, step=step, steps=steps)
                .returning(jobs.c.cancel_requested_at)
            ).first()
        if row is None:
            return Pulse(is_lost=True, is_cancel_requested=False)
        return Pulse(is_lost=False, is_cancel_requested=row.cancel_requested_at is not None)

    def succeed(self, job: Job, result: dict[str, Any], steps: int | None = None) -> bool:
        """Record the result, whose objects are stored already; False if the lease was lost.

        True again when the very same result was recorded before: a commit may come through
        though its answer does not, and then nothing that the row points to may be taken away.

        All of the engine's `steps` are done, whether a heartbeat told of them or not.
        """
        with self._database.writing() as connection:
            now = connection.scalar(select(now_ms())) or 0
            timings = {
                "queued_ms": (job.claimed_at or now) - job.created_at,
                **result["timings"],
                "total_ms": now - job.created_at,
            }
            return self._finish(
                connection,
                job,
                Move.SUCCEED,
                result={**result, "timings": timings},
                step=steps or func.coalesce(jobs.c.steps, jobs.c.step),
                steps=steps or jobs.c.steps,
            ) or _is_recorded(connection, job, result)

    def fail(self, job: Job, error: TowlineError) -> bool:
        """Give up on the job for good."""
        with self._database.writing() as connection:
            return self._finish(connection, job, Move.FAIL, error=error_to_json(error))

    def cancel(self, job: Job) -> bool:
        """Record that the run was stopped because its owner asked."""
        with self._database.writing() as connection:
            return self._finish(connection, job, Move.CANCEL)

    def give_back(self, job: Job) -> bool:
        """Put a job back that this worker cannot finish; no loss, and due at once."""
        return self._put_back(job, **RELEASED)

    def fail_or_requeue(self, job: Job, error: TowlineError) -> bool:
        """Try again later if that may help and there is time left; fail otherwise."""
        delay_s = retry_delay_s(job.retries) if error.retryable else None
        if delay_s is None:
            return self.fail(job, error)
        share = random.uniform(1 - RETRY_JITTER, 1)  # noqa: S311
        wait_ms = round(1000 * delay_s * share)
        run_after = now_ms() + wait_ms
        return self._put_back(
            job,
            jobs.c.deadline_at > run_after,
            retries=jobs.c.retries + 1,
            **{**RELEASED, "run_after": run_after},
        ) or self.fail(job, error)

    def _put_back(self, job: Job, *where: ColumnElement[bool], **values: Any) -> bool:
        """Requeue; or cancel, if its owner asked for that since the last heartbeat."""
        with self._database.writing() as connection:
            # Held, so that nobody can ask between the two statements
            connection.execute(select(jobs.c.id).where(_held_by(job)).with_for_update())
            return self._finish(
                connection, job, Move.CANCEL, jobs.c.cancel_requested_at.is_not(None)
            ) or bool(move_jobs(connection, Move.REQUEUE, _held_by(job), *where, **values))

    def _finish(
        self,
        connection: Connection,
        job: Job,
        move: Move,
        *where: ColumnElement[bool],
        **values: Any,
    ) -> bool:
        finished = move_jobs(
            connection,
            move,
            _held_by(job),
            *where,
            finished_at=now_ms(),
            retain_until=now_ms() + self._retention_ms,
            lease_until=None,
            **values,
        )
        return bool(finished)


RELEASED: dict[str, Any] = {"lease_until": None, "worker_id": None, "run_after": 0}


def error_to_json(error: TowlineError) -> dict[str, Any]:
    """The job's `error` as it is stored and shown."""
    return {"code": error.code, "message": error.message, "retryable": error.retryable}


def is_due() -> ColumnElement[bool]:
    """Queued, and neither waiting for a retry nor past a limit that the sweep will enforce."""
    return and_(
        QUEUED,
        jobs.c.run_after <= now_ms(),
        or_(
            jobs.c.started_at.is_not(None),
            jobs.c.expires_at.is_(None),
            jobs.c.expires_at > now_ms(),
        ),
        or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > now_ms()),
    )


def _held_by(job: Job) -> ColumnElement[bool]:
    return and_(
        jobs.c.id == job.id,
        jobs.c.attempt == job.attempt,
        RUNNING,
    )


def _is_recorded(connection: Connection, job: Job, result: dict[str, Any]) -> bool:
    recorded = connection.scalar(
        select(jobs.c.result).where(jobs.c.id == job.id, jobs.c.attempt == job.attempt, SUCCEEDED)
    )
    return recorded is not None and recorded["candidates"] == result["candidates"]


def _next_due(connection: Connection, engine: str) -> str | None:
    """The job that comes next, held for this transaction; its account has had its turn."""
    line = line_of(engine, is_due())
    free = line.limit(1).with_for_update(key_share=True, skip_locked=True, of=turns)
    # When rivals serve every account that has work, one of them is shared.
    for query in (free, line.limit(SHARED)):
        for account_id in connection.scalars(query).all():
            job_id = _hold_first_of(connection, engine, account_id)
            if job_id is not None:
                note_turn(connection, engine, account_id)
                return job_id
    return None


def _hold_first_of(connection: Connection, engine: str, account_id: str) -> str | None:
    """The account's first due job that no rival holds."""
    first = first_of(engine, account_id, is_due())
    return connection.scalar(first.with_for_update(skip_locked=True))

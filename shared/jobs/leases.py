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

from sqlalchemy import BigInteger, and_, bindparam, func, or_, select, update

from shared.accounts.limits import UNLIMITED, Limits
from shared.accounts.quotas import has_room_to_run, may_run_one_more, running_limit
from shared.accounts.usage import STORED_BYTES, add_usage
from shared.db import now_ms, planned_once
from shared.errors import TowlineError
from shared.jobs.job import Job
from shared.jobs.moves import PreparedMove, move_jobs, prepare_move
from shared.jobs.state import RETRY_JITTER, Move, retry_delay_s
from shared.jobs.tables import QUEUED, RUNNING, SUCCEEDED, jobs, turns
from shared.jobs.turns import OF_ACCOUNT, first_of, line_of, next_turn, note_turn

if TYPE_CHECKING:
    from collections.abc import Collection

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

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float,
        result_retention_days: float,
        defaults: Limits = UNLIMITED,
    ) -> None:
        self._database = database
        self._defaults = defaults
        self._lease_ms = int(lease_s * 1000)
        self._retention_ms = int(result_retention_days * 86_400_000)

    def claim_next(self, engine: str, worker_id: str) -> Job | None:
        """Claim the next job of an engine; None when nothing is due.

        Accounts take turns; inside an account higher priority goes first, then age. What a
        rival is claiming at this moment is passed over, not waited for. So are accounts that
        have as many jobs running as they may.
        """
        by = {
            "of_engine": engine,
            "by_worker": worker_id,
            "for_ms": self._lease_ms,
            "running_default": self._defaults.running_jobs or 0,
        }
        return self._claim_at_once(by) or self._claim_along_the_line(by)

    def _claim_at_once(self, by: dict[str, Any]) -> Job | None:
        """On PostgreSQL the usual claim is one statement: one round trip, no lock outlives it.

        Nothing, if no account that has work is free of rivals, or the first of them may not
        run any number of jobs. An account whose due jobs are all being taken by others at this
        moment has had its turn.
        """
        if not self._database.writes_by_one_statement:
            return None
        with self._database.writing_at_once() as connection:
            return _claimed(connection, _CLAIM_NEXT, by)

    def _claim_along_the_line(self, by: dict[str, Any]) -> Job | None:
        """Statement by statement; where rivals serve every account, one of them is shared."""
        with self._database.writing() as connection:
            for account_id, running_jobs in connection.execute(_LINE, by).all():
                if not may_run_one_more(connection, account_id, running_jobs):
                    continue
                job = _claimed(connection, _CLAIM, {**by, "of_account": account_id})
                if job is not None:
                    note_turn(connection, by["of_engine"], account_id)
                    return job
        return None

    def give_back_of(self, worker_ids: Collection[str]) -> list[Job]:
        """Put back what these hold, for their claims had no answer; no loss.

        A job whose owner asked to cancel is canceled.
        """
        held = (RUNNING, jobs.c.worker_id.in_(worker_ids))
        asked = jobs.c.cancel_requested_at.is_not(None)
        cancel = prepare_move(Move.CANCEL, *held, asked, **_ENDED)
        with self._database.writing() as connection:
            connection.execute(select(jobs.c.id).where(*held).with_for_update())
            return [
                *move_jobs(connection, cancel, retain_ms=self._retention_ms),
                *move_jobs(connection, Move.REQUEUE, *held, **RELEASED),
            ]

    def heartbeat(self, job: Job, step: int, steps: int | None) -> Pulse:
        """Renew the lease and write down the progress."""
        made = {"at_step": step, "of_steps": steps, "for_ms": self._lease_ms}
        with self._database.writing_at_once() as connection:
            row = connection.execute(_HEARTBEAT, {**_holding(job), **made}).first()
        if row is None:
            return Pulse(is_lost=True, is_cancel_requested=False)
        return Pulse(is_lost=False, is_cancel_requested=row.cancel_requested_at is not None)

    def succeed(self, job: Job, result: dict[str, Any], steps: int | None = None) -> bool:
        """Record the result, whose objects are stored already; False if the lease was lost.

        True again when the very same result was recorded before: a commit may come through
        though its answer does not, and then nothing that the row points to may be taken away.

        All of the engine's `steps` are done, whether a heartbeat told of them or not. The
        bytes of its objects, `stored_bytes`, are counted for the account; with a `cache_key` it
        may answer later submissions.
        """
        stored_bytes, key = result.get("stored_bytes", 0), result.get("cache_key")
        beside = ("stored_bytes", "cache_key")  # columns of their own
        result = {name: part for name, part in result.items() if name not in beside}
        queued_ms = (job.claimed_at or job.created_at) - job.created_at
        timings = {
            "queued_ms": queued_ms,
            **result["timings"],
            "total_ms": queued_ms + round(1000 * (job.since_claim_s or 0)),
        }
        made = {**result, "timings": timings}
        with self._database.writing() as connection:
            outcome = {
                "made_result": made,
                "made_bytes": stored_bytes,
                "made_key": key,
                "of_steps": steps or None,
            }
            if self._finish(connection, job, _SUCCEED, **outcome):
                add_usage(connection, job.account_id, STORED_BYTES, stored_bytes)
                return True
            return _is_recorded(connection, job, result)

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
        requeue = prepare_move(Move.REQUEUE, _MINE, *where, **values)
        with self._database.writing() as connection:
            # Held, so that nobody can ask between the two statements
            connection.execute(_HOLD_MINE, _holding(job))
            return self._finish(
                connection, job, Move.CANCEL, jobs.c.cancel_requested_at.is_not(None)
            ) or bool(move_jobs(connection, requeue, **_holding(job)))

    def _finish(
        self,
        connection: Connection,
        job: Job,
        move: Move | PreparedMove,
        *where: ColumnElement[bool],
        **values: Any,
    ) -> bool:
        if isinstance(move, Move):
            move = prepare_move(move, _MINE, *where, **{**_ENDED, **values})
            values = {}
        values |= {**_holding(job), "retain_ms": self._retention_ms}
        return bool(move_jobs(connection, move, **values))


RELEASED: dict[str, Any] = {"lease_until": None, "worker_id": None, "run_after": 0}


def _claimed(connection: Connection, claim: PreparedMove, by: dict[str, Any]) -> Job | None:
    """A lease counts from before its claim is sent; the wait for a connection is none of it."""
    claim_sent = time.monotonic()
    for job in move_jobs(connection, claim, **by):
        return replace(job, claim_sent=claim_sent)
    return None


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


def _is_recorded(connection: Connection, job: Job, result: dict[str, Any]) -> bool:
    recorded = connection.scalar(
        select(jobs.c.result).where(jobs.c.id == job.id, jobs.c.attempt == job.attempt, SUCCEEDED)
    )
    return recorded is not None and recorded["candidates"] == result["candidates"]


_MINE = and_(
    jobs.c.id == bindparam("held_id"), jobs.c.attempt == bindparam("held_attempt"), RUNNING
)


_HOLD_MINE = planned_once(select(jobs.c.id).where(_MINE).with_for_update())


def _holding(job: Job) -> dict[str, Any]:
    """The parameters of `_MINE`."""
    return {"held_id": job.id, "held_attempt": job.attempt}


_FOR_MS = bindparam("for_ms", type_=BigInteger())
_ENDED: dict[str, Any] = {
    "finished_at": now_ms(),
    "retain_until": now_ms() + bindparam("retain_ms", type_=BigInteger()),
    "lease_until": None,
}
_STEPS = bindparam("of_steps", type_=jobs.c.steps.type)
_SUCCEED = prepare_move(
    Move.SUCCEED,
    _MINE,
    is_by_key=True,
    result=bindparam("made_result", type_=jobs.c.result.type),
    stored_bytes=bindparam("made_bytes", type_=BigInteger()),
    cache_key=bindparam("made_key", type_=jobs.c.cache_key.type),
    step=func.coalesce(_STEPS, jobs.c.steps, jobs.c.step),
    steps=func.coalesce(_STEPS, jobs.c.steps),
    **_ENDED,
)
_HEARTBEAT = planned_once(
    update(jobs)
    .where(_MINE)
    .values(
        lease_until=now_ms() + _FOR_MS,
        step=bindparam("at_step"),
        steps=bindparam("of_steps", type_=jobs.c.steps.type),
    )
    .returning(jobs.c.cancel_requested_at)
)
_RUNNING_LIMIT = running_limit(turns.c.account_id, bindparam("running_default", type_=BigInteger()))
_HAS_ROOM = has_room_to_run(turns.c.account_id, _RUNNING_LIMIT)
_LINE = line_of(is_due()).add_columns(_RUNNING_LIMIT).where(_HAS_ROOM).limit(SHARED)


def _claiming(account_id: ColumnElement[str]) -> PreparedMove:
    """The claim of the account's first due job that no rival holds."""
    first = first_of(account_id, is_due()).with_for_update(skip_locked=True).correlate(None)
    return prepare_move(
        Move.CLAIM,
        jobs.c.id == first.scalar_subquery(),
        attempt=jobs.c.attempt + 1,
        worker_id=bindparam("by_worker"),
        lease_until=now_ms() + _FOR_MS,
        claimed_at=now_ms(),
        started_at=func.coalesce(jobs.c.started_at, now_ms()),
        deadline_at=func.coalesce(jobs.c.deadline_at, now_ms() + jobs.c.timeout_s * 1000),
        step=0,
        steps=None,
    )


_CLAIM = _claiming(OF_ACCOUNT)
_TURN = next_turn(is_due(), _HAS_ROOM).where(_RUNNING_LIMIT == 0).cte("turn")
_CLAIM_NEXT = _claiming(select(_TURN).scalar_subquery())

"""Batches as their owners see them; one transaction a method.

Every method takes the account; another account's batch does not exist for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, select, update

from shared.accounts.limits import UNLIMITED, Limits
from shared.accounts.quotas import QUEUED_RETRY_S, hold_account
from shared.accounts.usage import add_usage, pixels_of_month
from shared.audit.trail import note
from shared.batches.acceptance import accept
from shared.batches.again import copy_slice
from shared.batches.batch import MAX_UNREAD, Batch, Invalid, Item, NewBatch
from shared.batches.rows import (
    hold_batch,
    insert_batch,
    insert_invalid,
    insert_items,
    read_batch,
    read_invalid,
)
from shared.batches.state import FINAL, BatchState
from shared.batches.tables import INVALID, VALIDATING, WAITING, batch_items, batches
from shared.batches.tally import finish, tell, with_counts
from shared.db import announce, now_ms
from shared.engines import ENGINES
from shared.errors import (
    BatchNotFinal,
    InvalidRequest,
    NotFound,
    NothingToRetry,
    TooManyQueued,
    Violation,
)
from shared.ids import new_id
from shared.jobs.job import Job, job_from_row
from shared.jobs.moves import move_jobs
from shared.jobs.state import Move
from shared.jobs.tables import ACTIVE as JOB_ACTIVE
from shared.jobs.tables import QUEUED as JOB_QUEUED
from shared.jobs.tables import RUNNING as JOB_RUNNING
from shared.jobs.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from shared.db import Database
    from shared.idempotency.claims import Completion

BATCHES = "batches"  #: the topic of `Database.after_commit`: one of them wants to be tended


@dataclass(frozen=True, slots=True)
class ItemNow:
    """One line of a batch, and what became of it so far.

    job: None where there is none: it waits, was withdrawn, is invalid, or was deleted since.
    """

    line: int
    custom_id: str | None
    job_id: str | None
    job: Job | None
    invalid: Invalid | None
    is_withdrawn: bool  #: before it became a job


class BatchStore:
    """What owners may do with batches."""

    def __init__(
        self, database: Database, *, result_retention_days: float, defaults: Limits = UNLIMITED
    ) -> None:
        self._database = database
        self._defaults = defaults
        self._retention_ms = int(result_retention_days * 86_400_000)

    def create(
        self,
        account_id: str,
        batch_id: str,
        new: NewBatch,
        *,
        object_key: str,
        size_bytes: int,
        completion: Completion | None = None,
    ) -> Batch:
        """A batch whose lines are in object storage and were not looked at yet.

        `TooManyQueued` if many of the account's wait for that already. `completion` writes
        in the same transaction what an idempotency key made.
        """
        with self._database.writing() as connection:
            hold_account(connection, account_id, self._defaults)
            _require_few_unread(connection, account_id)
            stream = {"object_key": object_key, "size_bytes": size_bytes}
            insert_batch(connection, account_id, batch_id, new, **stream)
            return self._created(connection, account_id, batch_id, completion)

    def create_checked(
        self,
        account_id: str,
        batch_id: str,
        new: NewBatch,
        items: Sequence[Item],
        invalid: Sequence[Invalid],
        completion: Completion | None = None,
    ) -> Batch:
        """A batch whose items were looked at, accepted at once.

        `InvalidRequest` if one cannot be after all, unless the batch skips those.
        """
        with self._database.writing() as connection:
            limits = hold_account(connection, account_id, self._defaults)
            lines = len(items) + len(invalid)
            insert_batch(connection, account_id, batch_id, new, lines=lines)
            late = insert_items(connection, account_id, batch_id, items)
            if late and not new.skips_invalid:
                raise InvalidRequest(
                    Violation(v.pointer, v.code, v.detail, line=each.line)
                    for each in late
                    for v in each.violations
                )
            insert_invalid(connection, batch_id, [*invalid, *late])
            gone = {each.line for each in late}
            connection.execute(
                update(batches)
                .where(batches.c.id == batch_id)
                .values(
                    total=lines,
                    invalid=len(invalid) + len(late),
                    waiting=len(items) - len(late),
                    pixels=sum(item.pixels for item in items if item.line not in gone),
                )
            )
            batch = read_batch(connection, batch_id=batch_id)
            accept(connection, batch, limits)
            return self._created(connection, account_id, batch_id, completion)

    def _created(
        self,
        connection: Connection,
        account_id: str,
        batch_id: str,
        completion: Completion | None,
        retried_from: str | None = None,
    ) -> Batch:
        if completion is not None:
            completion(connection, batch_id, True)
        note(connection, account_id, "batch.created", batch_id, retried_from=retried_from)
        announce(connection, BATCHES)
        finish(connection, batches.c.id == batch_id)  # one of nothing but invalid lines
        return read_batch(connection, batch_id=batch_id)

    def get(self, account_id: str, batch_id: str) -> tuple[Batch, list[Invalid]]:
        """The batch as it is now, with its first invalid lines; `NotFound`."""
        with self._database.reading() as connection:
            mine = batches.c.account_id == account_id
            batch = read_batch(connection, mine, batch_id=batch_id)
            has_errors = batch.invalid or batch.status is BatchState.REJECTED
            return batch, read_invalid(connection, batch_id) if has_errors else []

    def page(
        self,
        account_id: str,
        *,
        limit: int,
        before: str | None = None,
        status: BatchState | None = None,
    ) -> list[Batch]:
        """At most `limit` batches, newest first, older than the batch `before`."""
        query = select(batches).where(batches.c.account_id == account_id)
        if before is not None:
            query = query.where(batches.c.id < before)
        if status is not None:
            query = query.where(batches.c.status == status.value)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(batches.c.id.desc()).limit(limit)).all()
            return with_counts(connection, rows)

    def final_among(self, ids: Iterable[str]) -> set[str]:
        """Those of these batches that have ended or are gone: nobody needs to wait for them."""
        wanted = set(ids)
        is_over = batches.c.status.in_([state.value for state in FINAL])
        with self._database.reading_at_once() as connection:
            active = connection.scalars(
                select(batches.c.id).where(batches.c.id.in_(wanted), ~is_over)
            ).all()
        return wanted - set(active)

    def cancel(self, account_id: str, batch_id: str) -> Batch:
        """Withdraw what waits, cancel what is queued, ask what runs to stop; a final one stays."""
        mine = batches.c.account_id == account_id
        with self._database.writing() as connection:
            batch = hold_batch(connection, batch_id, mine)
            if batch is None:
                raise NotFound(f"There is no batch {batch_id}.")
            if not batch.status.is_final and batch.cancel_requested_at is None:
                self._cancel(connection, batch)
                note(connection, account_id, "batch.canceled", batch_id)
            return read_batch(connection, batch_id=batch_id)

    def _cancel(self, connection: Connection, batch: Batch) -> None:
        this = batches.c.id == batch.id
        withdrawn = {"withdrawn": batches.c.waiting, "waiting": 0, "cancel_requested_at": now_ms()}
        if batch.status is BatchState.VALIDATING:
            over = {"status": BatchState.CANCELED.value, "finished_at": now_ms()}
            connection.execute(update(batches).where(this).values(**withdrawn, **over))
            tell(connection, read_batch(connection, batch_id=batch.id))
            return
        left = select(func.coalesce(func.sum(batch_items.c.pixels), 0))
        left_px = connection.scalar(left.where(batch_items.c.batch_id == batch.id, WAITING)) or 0
        connection.execute(update(batches).where(this).values(**withdrawn))
        _stop_jobs(connection, batch.id, self._retention_ms)
        month = pixels_of_month(batch.accepted_at or 0)
        add_usage(connection, batch.account_id, month, -int(left_px))
        finish(connection, this)

    def retry(
        self,
        account_id: str,
        batch_id: str,
        completion: Completion | None = None,
        *,
        engines: Collection[str] = tuple(ENGINES),
    ) -> Batch:
        """A new batch of the items that failed or expired; `BatchNotFinal`, `NothingToRetry`.

        engines: those that are configured; items of others are invalid in it.

        Their lines and names stay. One whose image is gone is invalid in it. Where there are more
        than one slice holds, it validates until workers have copied the others.
        """
        new_batch = new_id("bat")
        with self._database.writing() as connection:
            limits = hold_account(connection, account_id, self._defaults)
            old = read_batch(connection, batches.c.account_id == account_id, batch_id=batch_id)
            if not old.status.is_final:
                raise BatchNotFinal(f"{batch_id} is {old.status}; there is nothing to retry yet.")
            new = NewBatch(skips_invalid=True, webhook=old.webhook, metadata=old.metadata)
            insert_batch(connection, account_id, new_batch, new, retried_from=old.id)
            held = read_batch(connection, batch_id=new_batch)
            is_whole = copy_slice(connection, held, engines)
            batch = read_batch(connection, batch_id=new_batch)
            if not batch.total:
                raise NothingToRetry(f"No item of {batch_id} failed or expired.")
            if is_whole:
                accept(connection, batch, limits)
            else:
                _require_few_unread(connection, account_id, besides=new_batch)
            return self._created(connection, account_id, new_batch, completion, old.id)

    def items(
        self, account_id: str, batch_id: str, *, after_line: int, limit: int
    ) -> list[ItemNow]:
        """At most so many lines beyond one, as they are now; `NotFound` for the batch."""
        mine = and_(batches.c.id == batch_id, batches.c.account_id == account_id)
        query = (
            select(
                batch_items.c.line,
                batch_items.c.custom_id,
                batch_items.c.job_id.label("item_job"),
                batch_items.c.problem,
                *jobs.c,
            )
            .select_from(batch_items.outerjoin(jobs, jobs.c.id == batch_items.c.job_id))
            .where(batch_items.c.batch_id == batch_id, batch_items.c.line > max(0, after_line))
            .order_by(batch_items.c.line)
            .limit(limit)
        )
        with self._database.reading() as connection:
            batch = connection.execute(
                select(batches.c.status, batches.c.cancel_requested_at).where(mine)
            ).first()
            if batch is None:
                raise NotFound(f"There is no batch {batch_id}.")
            is_rejected = batch.status == BatchState.REJECTED.value
            if is_rejected:  # its good lines are on their way out
                query = query.where(INVALID)
            is_over = is_rejected or batch.cancel_requested_at is not None
            rows = connection.execute(query).all()
        return [
            ItemNow(
                line=row.line,
                custom_id=row.custom_id if row.problem is None else row.problem["custom_id"],
                job_id=row.item_job,
                job=None if row.id is None else job_from_row(row),
                invalid=None if row.problem is None else Invalid.from_json(row.line, row.problem),
                is_withdrawn=is_over and row.item_job is None,
            )
            for row in rows
        ]


def _require_few_unread(connection: Connection, account_id: str, *, besides: str = "") -> None:
    mine = select(batches.c.id).where(
        batches.c.account_id == account_id, VALIDATING, batches.c.id != besides
    )
    if len(connection.execute(mine.limit(MAX_UNREAD)).all()) == MAX_UNREAD:
        said = f"{MAX_UNREAD} batches of this account wait to be read already, as many as may."
        raise TooManyQueued(said, QUEUED_RETRY_S)


def _stop_jobs(connection: Connection, batch_id: str, retention_ms: int) -> None:
    """All of them are held first: who waits for a job while it holds a tally would wait for ever.

    And none could go from queued to running, or back, between the two statements.
    """
    mine = jobs.c.batch_id == batch_id
    active = select(jobs.c.id).where(mine, JOB_ACTIVE).order_by(jobs.c.id)
    connection.execute(active.with_for_update(key_share=True)).all()
    connection.execute(
        update(jobs)
        .where(mine, JOB_RUNNING, jobs.c.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now_ms())
    )
    move_jobs(
        connection,
        Move.CANCEL,
        mine,
        JOB_QUEUED,
        cancel_requested_at=now_ms(),
        finished_at=now_ms(),
        retain_until=now_ms() + retention_ms,
    )

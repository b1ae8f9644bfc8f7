"""What becomes of a batch after its owner sent it: one transaction a method, safe to run twice.

    read slice by slice ──▶ accept, or reject ──▶ slices become jobs ──▶ ended by its last item

Nobody holds a batch for long: whoever tends one has it to himself for a lease, and if that runs
out, what both then write is written by one of them: a slice carries how far the batch had been
read before it.

Items become jobs a window at a time, so that a batch of fifty thousand is neither in the way of
its account's other jobs, nor slow to cancel, nor against the account's limit of queued jobs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, delete, func, or_, select, update

from shared.accounts.limits import UNLIMITED, Limits
from shared.accounts.quotas import count_jobs, hold_account, is_storage_full
from shared.accounts.usage import add_usage, pixels_of_month
from shared.batches.acceptance import accept
from shared.batches.again import copy_slice
from shared.batches.batch import WHOLE, Batch, Invalid, Item
from shared.batches.rows import delete_items, hold_batch, insert_invalid, insert_items, read_batch
from shared.batches.state import BatchState
from shared.batches.tables import RUNNING, VALIDATING, WAITING, batch_items, batches
from shared.batches.tally import finish, tell, with_counts
from shared.db import now_ms
from shared.edits import JobSpec
from shared.engines import ENGINES
from shared.errors import LimitExceeded, Violation
from shared.ids import new_id
from shared.jobs.cache_keys import Contents, Maker, cache_key
from shared.jobs.cached import answer, earlier_result
from shared.jobs.labels import add_labels_of
from shared.jobs.moves import new_trace, submit_jobs
from shared.jobs.tables import QUEUED as JOB_QUEUED
from shared.jobs.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from shared.db import Database

RELEASED = 200  #: items that become jobs in one transaction
FORGOTTEN = 1000  #: items that one transaction deletes
REST_MS = 1000  #: before somebody looks again at a batch for which there was no room


@dataclass(frozen=True, slots=True)
class Slice:
    """The next lines of a batch, looked at.

    read_bytes, lines: how far the stream was read with them.
    """

    read_bytes: int
    lines: int
    items: Sequence[Item]
    invalid: Sequence[Invalid]


class BatchUpkeep:
    """Reads, accepts, releases, ends and forgets batches."""

    def __init__(
        self,
        database: Database,
        *,
        window: int,
        lease_s: float,
        retention_days: float,
        result_retention_days: float,
        defaults: Limits = UNLIMITED,
        maker_of: Callable[[str], Maker | None] = lambda engine: None,
    ) -> None:
        """maker_of: see `JobStore`."""
        self._database = database
        self._defaults = defaults
        self._window = window
        self._maker_of = maker_of
        self._result_retention_ms = int(result_retention_days * 86_400_000)
        self._lease_ms = int(lease_s * 1000)
        self._retention_ms = int(retention_days * 86_400_000)

    def take_next(self) -> Batch | None:
        """A batch that wants tending, for a lease.

        Accounts take turns, and each account's batches among themselves: who sends twenty gets no
        more of it than who sends one.
        """
        next_one = (
            select(batches.c.id)
            .where(batches.c.tended_until < now_ms(), self._wants_tending())
            .order_by(_last_turn_of_account(), batches.c.tended_at)
            .limit(1)
            .with_for_update(skip_locked=True, key_share=True)
        )
        with self._database.writing() as connection:
            rows = connection.execute(
                update(batches)
                .where(batches.c.id == next_one.correlate(None).scalar_subquery())
                .values(tended_at=now_ms(), tended_until=now_ms() + self._lease_ms)
                .returning(*batches.c)
            ).all()
            for batch in with_counts(connection, rows):
                return batch
        return None

    def is_anything_wanted(self) -> bool:
        """Whether `take_next` would give one."""
        wanted = select(batches.c.id).where(
            batches.c.tended_until < now_ms(), self._wants_tending()
        )
        with self._database.reading_at_once() as connection:
            return connection.scalar(wanted.limit(1)) is not None

    def _wants_tending(self) -> ColumnElement[bool]:
        queued = select(func.count()).where(jobs.c.batch_id == batches.c.id, JOB_QUEUED)
        has_room = queued.correlate(batches).scalar_subquery() <= self._window // 2
        return or_(VALIDATING, and_(RUNNING, batches.c.waiting > 0, has_room))

    def let_go(self, batch: Batch, *, rest_ms: int = 0) -> None:
        """Let others tend it, after a rest."""
        with self._database.writing() as connection:
            connection.execute(
                update(batches)
                .where(batches.c.id == batch.id)
                .values(tended_until=now_ms() + rest_ms if rest_ms else 0)
            )

    def record(self, batch: Batch, found: Slice) -> bool:
        """Write down the next slice; False if somebody else did, or the batch is over."""
        unread = and_(VALIDATING, batches.c.read_bytes == batch.read_bytes)
        with self._database.writing() as connection:
            if hold_batch(connection, batch.id, unread) is None:
                return False
            late = insert_items(connection, batch.account_id, batch.id, found.items)
            insert_invalid(connection, batch.id, [*found.invalid, *late])
            gone = {each.line for each in late}
            count = len(found.items) + len(found.invalid)
            pixels = sum(item.pixels for item in found.items if item.line not in gone)
            connection.execute(
                update(batches)
                .where(batches.c.id == batch.id)
                .values(
                    read_bytes=found.read_bytes,
                    lines=found.lines,
                    total=batches.c.total + count,
                    invalid=batches.c.invalid + len(found.invalid) + len(late),
                    waiting=batches.c.waiting + len(found.items) - len(late),
                    pixels=batches.c.pixels + pixels,
                )
            )
        return True

    def copy(self, batch: Batch, engines: Collection[str]) -> bool:
        """Copy the next items of the batch that this one tries again; whether it has all."""
        with self._database.writing() as connection:
            held = hold_batch(connection, batch.id, VALIDATING)
            return held is None or copy_slice(connection, held, engines)

    def judge(self, batch: Batch) -> Batch | None:
        """Accept a batch that was read to its end, or reject it; None if it was over already."""
        with self._database.writing() as connection:
            limits = hold_account(connection, batch.account_id, self._defaults)
            held = hold_batch(connection, batch.id, VALIDATING)
            if held is None:
                return None
            is_refused = held.invalid and not held.skips_invalid
            refusal = None
            if not held.total:
                refusal = Violation("", "batch_empty", "there is no job in it")
            elif not is_refused:
                try:
                    accept(connection, held, limits)
                except LimitExceeded as error:
                    refusal = Violation("", error.code, error.message)
            if refusal is not None:
                insert_invalid(connection, batch.id, [Invalid(WHOLE, None, [refusal])])
            if is_refused or refusal is not None:
                self._reject(connection, batch.id)
            else:
                finish(connection, batches.c.id == batch.id)  # one of nothing but invalid lines
            return read_batch(connection, batch_id=batch.id)

    def refuse(self, batch: Batch, why: Violation) -> None:
        """Reject a batch as a whole, if it is not over."""
        with self._database.writing() as connection:
            if hold_batch(connection, batch.id, VALIDATING) is not None:
                insert_invalid(connection, batch.id, [Invalid(WHOLE, None, [why])])
                self._reject(connection, batch.id)

    def _reject(self, connection: Connection, batch_id: str) -> None:
        connection.execute(
            update(batches)
            .where(batches.c.id == batch_id)
            .values(status=BatchState.REJECTED.value, finished_at=now_ms(), waiting=0)
        )
        tell(connection, read_batch(connection, batch_id=batch_id))

    def release(self, batch: Batch) -> dict[str, int] | None:
        """Make the next items jobs, as far as there is room; how many of these wait, by engine.

        None: there was no room, or nothing waits.

        Those that an earlier result answers are born succeeded, and cost the account nothing.
        """
        makers = {engine: self._maker_of(engine) for engine in ENGINES}
        with self._database.writing() as connection:
            limits = hold_account(connection, batch.account_id, self._defaults)
            held = hold_batch(connection, batch.id, RUNNING, batches.c.waiting > 0)
            if held is None:
                return None
            room = self._room(connection, held, limits)
            items = connection.execute(
                select(batch_items)
                .where(batch_items.c.batch_id == batch.id, WAITING)
                .order_by(batch_items.c.priority, batch_items.c.line)
                .limit(max(0, min(room, RELEASED)))
            ).all()
            if not items:
                return None
            return self._release(connection, held, items, makers)

    def _room(self, connection: Connection, batch: Batch, limits: Limits) -> int:
        mine = select(func.count()).where(jobs.c.batch_id == batch.id, JOB_QUEUED)
        if is_storage_full(connection, batch.account_id, limits):
            return 0
        room = self._window - (connection.scalar(mine) or 0)
        if limits.queued_jobs is not None:
            most = limits.queued_jobs
            room = min(
                room, most - count_jobs(connection, batch.account_id, JOB_QUEUED, ceiling=most)
            )
        return room

    def _release(
        self,
        connection: Connection,
        batch: Batch,
        items: Sequence[Row[Any]],
        makers: Mapping[str, Maker | None],
    ) -> dict[str, int]:
        now = connection.scalar(select(now_ms())) or 0
        rows = [_job_row(batch, item, now) for item in items]
        answered = {
            item.line
            for item, row in zip(items, rows, strict=True)
            if self._answer(connection, item, row, makers[row["engine"]])
        }
        left = [row for item, row in zip(items, rows, strict=True) if item.line not in answered]
        if left:
            submit_jobs(connection, left)
        add_labels_of(connection, batch.account_id, {row["id"]: row["metadata"] for row in rows})
        connection.execute(
            _BECAME,
            [
                {"of_batch": batch.id, "of_line": item.line, "as_job": row["id"]}
                for item, row in zip(items, rows, strict=True)
            ],
        )
        connection.execute(
            update(batches)
            .where(batches.c.id == batch.id)
            .values(waiting=batches.c.waiting - len(items))
        )
        begun_px = sum(row["pixels"] for row in left)
        self._charge_this_month(connection, batch, begun_px, now)
        free_px = sum(item.pixels for item in items if item.line in answered)
        month = pixels_of_month(batch.accepted_at or now)
        add_usage(connection, batch.account_id, month, -free_px)
        return dict(Counter(row["engine"] for row in left))

    def _answer(
        self, connection: Connection, item: Row[Any], row: dict[str, Any], maker: Maker | None
    ) -> bool:
        """Whether an earlier result answers the item: then its job is there, and has succeeded."""
        if item.contents is None or maker is None:
            return False
        spec = JobSpec.from_json(item.spec)
        key = cache_key(row["account_id"], spec, Contents(**item.contents), maker)
        earlier = None if key is None else earlier_result(connection, row["account_id"], key)
        if earlier is None:
            return False
        names = ("id", "priority", "spec", "metadata", "image_id", "mask_id", "timeout_s")
        values = {
            "of_engine": row["engine"],
            "of_account": row["account_id"],
            "of_key": key,
            **{f"new_{name}": row[name] for name in (*names, "batch_id")},
            "new_trace_context": new_trace(row),
            **dict.fromkeys(("new_retried_from", "expires_in_ms")),
        }
        answer(connection, earlier, values, retention_ms=self._result_retention_ms)
        return True

    def _charge_this_month(
        self, connection: Connection, batch: Batch, pixels: int, now: int
    ) -> None:
        """A job that ends in vain gives its pixels back to the month in which it was made."""
        before, this = pixels_of_month(batch.accepted_at or now), pixels_of_month(now)
        if before != this:
            add_usage(connection, batch.account_id, before, -pixels)
            add_usage(connection, batch.account_id, this, pixels)

    def finish(self) -> list[Batch]:
        """End the batches whose last items ended at the same moment."""
        with self._database.writing() as connection:
            return finish(connection)

    def forget_items(self) -> None:
        """A slice of what nobody will ask for: the good lines of batches that were rejected."""
        over = select(batches.c.id).where(
            batches.c.status == BatchState.REJECTED.value,
            select(batch_items.c.line)
            .where(batch_items.c.batch_id == batches.c.id, WAITING)
            .exists(),
        )
        with self._database.writing() as connection:
            ids = connection.scalars(over.limit(1)).all()
            delete_items(connection, FORGOTTEN, batch_items.c.batch_id.in_(ids), WAITING)

    def streams_that_were_read(self) -> list[Batch]:
        """Batches whose lines in object storage nobody needs any more."""
        read = select(batches).where(batches.c.object_key.is_not(None), ~VALIDATING).limit(50)
        with self._database.reading() as connection:
            return with_counts(connection, connection.execute(read).all())

    def forget_stream(self, batch: Batch) -> None:
        """The row points to no object any more."""
        with self._database.writing() as connection:
            connection.execute(
                update(batches).where(batches.c.id == batch.id).values(object_key=None)
            )

    def forget_old(self) -> None:
        """A slice of the batches past the retention of jobs, their items first."""
        old = batches.c.finished_at < now_ms() - self._retention_ms
        with self._database.writing() as connection:
            those = select(batches.c.id).where(old).order_by(batches.c.finished_at).limit(20)
            ids = connection.scalars(those).all()
            mine = batch_items.c.batch_id.in_(ids)
            if ids and delete_items(connection, FORGOTTEN, mine) < FORGOTTEN:
                connection.execute(delete(batches).where(batches.c.id.in_(ids)))


def _last_turn_of_account() -> ColumnElement[int]:
    """Of any of its batches: those that ended in their turn have had it all the same."""
    those = batches.alias("of_account")
    last = select(func.max(those.c.tended_at)).where(those.c.account_id == batches.c.account_id)
    return last.correlate(batches).scalar_subquery()


def _job_row(batch: Batch, item: Row[Any], now: int) -> dict[str, Any]:
    spec = JobSpec.from_json(item.spec)
    expires_at = None
    if spec.expires_in_s is not None:
        expires_at = (batch.accepted_at or now) + 1000 * spec.expires_in_s
    return {
        "id": new_id("job"),
        "account_id": batch.account_id,
        "engine": spec.engine,
        "priority": item.priority,
        "spec": item.spec,
        "metadata": item.metadata,
        "image_id": item.image_id,
        "mask_id": item.mask_id,
        "timeout_s": spec.timeout_s,
        "batch_id": batch.id,
        "pixels": item.pixels,
        "created_at": now,
        "expires_at": expires_at,
    }


_BECAME = (
    update(batch_items)
    .where(
        batch_items.c.batch_id == bindparam("of_batch"), batch_items.c.line == bindparam("of_line")
    )
    .values(job_id=bindparam("as_job"), spec=None, metadata=None, image_id=None, mask_id=None)
)

"""How many items of a batch have ended, and whether that was the last: with the move that ends one.

The last of a batch ends it, in the same transaction, with the promise to tell of it. Where the
last two end at the same moment neither sees the other, and the sweep ends the batch
(`BatchUpkeep.finish`). Nobody waits here for the batch's row, so that no two wait for each other.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, literal, select, text, update

from shared.batches.batch import Batch, batch_from_row, show_batch
from shared.batches.state import BatchState
from shared.batches.tables import RUNNING, batch_tallies, batches
from shared.db import now_ms, on_commit, planned_once
from shared.jobs.tables import RUNNING as JOB_RUNNING
from shared.jobs.tables import jobs
from shared.telemetry.metrics import BATCH_ENDS
from shared.webhooks.outbox import tell_of_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

    from shared.jobs.job import Job

SHARDS = 8
ENDS = ("succeeded", "failed", "canceled", "expired")

#: Spelt out, since SQLAlchemy compiles its own `ON CONFLICT` anew each time: 0.5 ms.
#: A batch that was forgotten meanwhile is gone, and its rows with it.
_ADD_SQL = (
    f"INSERT INTO batch_tallies (batch_id, shard, {', '.join(ENDS)}) "  # noqa: S608 - our names
    f"SELECT id, :shard, {', '.join(f':{name}' for name in ENDS)} FROM batches "
    "WHERE id = :batch_id {held} ON CONFLICT (batch_id, shard) DO UPDATE SET "
    + ", ".join(f"{name} = batch_tallies.{name} + excluded.{name}" for name in ENDS)
)
_ADD = {
    "postgresql": planned_once(text(_ADD_SQL.replace("{held}", "FOR KEY SHARE"))),
    "sqlite": text(_ADD_SQL.replace("{held}", "")),
}


def tally(connection: Connection, moved: Iterable[Job]) -> None:
    """Count those of these jobs that are items of batches and have ended just now."""
    ended: dict[str, Counter[str]] = {}
    for job in moved:
        if job.batch_id is not None and job.status.is_final:
            ended.setdefault(job.batch_id, Counter())[job.status.value] += 1
    for batch_id, counts in sorted(ended.items()):  # always in one order
        row = {"batch_id": batch_id, "shard": _a_shard(), **{name: counts[name] for name in ENDS}}
        if connection.execute(_ADD[connection.dialect.name], row).rowcount:
            finish_one(connection, batch_id)


def _a_shard() -> int:
    """The same for all that a thread counts, so that no transaction waits for two of a batch."""
    return hash((os.getpid(), threading.get_ident())) % SHARDS


def finish(connection: Connection, *where: ColumnElement[bool]) -> list[Batch]:
    """End those of these batches whose every item has ended, and tell of it.

    What a rival holds is left to it.
    """
    return _end(connection, connection.scalars(_done(*where)).all())


def finish_one(connection: Connection, batch_id: str) -> list[Batch]:
    """The same of one batch, asked so often that the statement is made once."""
    return _end(connection, connection.scalars(_DONE_ONE, {"of_batch": batch_id}).all())


def _end(connection: Connection, ids: Sequence[str]) -> list[Batch]:
    if not ids:
        return []
    asked = batches.c.cancel_requested_at.is_not(None)
    rows = connection.execute(
        update(batches)
        .where(batches.c.id.in_(ids), RUNNING)
        .values(
            status=case((asked, BatchState.CANCELED.value), else_=BatchState.COMPLETED.value),
            finished_at=now_ms(),
        )
        .returning(*batches.c)
    ).all()
    ended = with_counts(connection, rows)
    for batch in ended:
        tell(connection, batch)
    return ended


def _done(*where: ColumnElement[bool]) -> Select[Any]:
    return (
        select(batches.c.id)
        .where(
            RUNNING, *where, _ended() + batches.c.withdrawn == batches.c.total - batches.c.invalid
        )
        .with_for_update(skip_locked=True, key_share=True)
    )


def tell(connection: Connection, batch: Batch) -> None:
    """Promise everybody concerned a message of a batch that has ended just now."""
    on_commit(connection, partial(BATCH_ENDS.labels(batch.status.value).inc, 1))
    tell_of_batch(
        connection, batch.account_id, batch.status.value, show_batch(batch), batch.webhook
    )


def _ended() -> ColumnElement[int]:
    total = sum((batch_tallies.c[name] for name in ENDS), literal(0))
    mine = batch_tallies.c.batch_id == batches.c.id
    summed = select(func.coalesce(func.sum(total), 0)).where(mine)
    return summed.correlate(batches).scalar_subquery()


_DONE_ONE = planned_once(_done(batches.c.id == bindparam("of_batch")))


def with_counts(connection: Connection, rows: Iterable[Row[Any]]) -> list[Batch]:
    """These rows of `batches`, with how many of their jobs have ended, and run."""
    rows = list(rows)
    ids = [row.id for row in rows]
    if not ids:
        return []
    sums = [func.sum(batch_tallies.c[name]).label(name) for name in ENDS]
    those = select(batch_tallies.c.batch_id, *sums).where(batch_tallies.c.batch_id.in_(ids))
    ended = {
        row.batch_id: {name: int(row._mapping[name]) for name in ENDS}
        for row in connection.execute(those.group_by(batch_tallies.c.batch_id))
    }
    run = select(jobs.c.batch_id, func.count()).where(jobs.c.batch_id.in_(ids), JOB_RUNNING)
    running = dict(connection.execute(run.group_by(jobs.c.batch_id)).tuples().all())
    return [batch_from_row(row, ended.get(row.id, {}), running.get(row.id, 0)) for row in rows]

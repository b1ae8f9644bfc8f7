"""The items of a batch that failed or expired, once more: copied into a new one, slice by slice.

So many at once that nobody else waits for it. Lines and names stay; what cannot run any more (its
image is gone, its engine is not configured) is invalid in the new batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from shared.batches.batch import Batch, Invalid, Item
from shared.batches.rows import insert_invalid, insert_items
from shared.batches.tables import batch_items, batches
from shared.errors import Violation
from shared.jobs.job import job_from_row
from shared.jobs.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

COPIED = 500  #: items at a time
RETRIED = ("failed", "expired")

_GONE_ENGINE = Violation("/engine", "engine_unavailable", "it is not configured any more")


def copy_slice(connection: Connection, new: Batch, engines: Collection[str]) -> bool:
    """The next items of the batch that `new` tries again; whether they were the last.

    Whoever calls this holds the row of `new`, which validates.
    """
    rows = connection.execute(
        select(batch_items.c.line, batch_items.c.custom_id, *jobs.c)
        .select_from(batch_items.join(jobs, jobs.c.id == batch_items.c.job_id))
        .where(
            batch_items.c.batch_id == new.retried_from,
            batch_items.c.line > new.lines,
            jobs.c.status.in_(RETRIED),
        )
        .order_by(batch_items.c.line)
        .limit(COPIED)
    ).all()
    if not rows:
        return True
    items = [
        Item(row.line, row.custom_id, job.spec, job.metadata, job.pixels or 0)
        for row, job in ((row, job_from_row(row)) for row in rows)
    ]
    invalid = [
        Invalid(item.line, item.custom_id, [_GONE_ENGINE])
        for item in items
        if item.spec.engine not in engines
    ]
    engineless = {each.line for each in invalid}
    runnable = [item for item in items if item.line not in engineless]
    invalid += insert_items(connection, new.account_id, new.id, runnable)
    insert_invalid(connection, new.id, invalid)
    gone = {each.line for each in invalid}
    connection.execute(
        update(batches)
        .where(batches.c.id == new.id)
        .values(
            lines=rows[-1].line,
            total=batches.c.total + len(rows),
            invalid=batches.c.invalid + len(gone),
            waiting=batches.c.waiting + len(rows) - len(gone),
            pixels=batches.c.pixels + sum(item.pixels for item in items if item.line not in gone),
        )
    )
    return len(rows) < COPIED

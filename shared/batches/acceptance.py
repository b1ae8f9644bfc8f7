"""The one moment at which a batch becomes a promise: all of it, by one UPDATE, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from shared.accounts.quotas import require_room_for_bytes
from shared.accounts.usage import add_usage, pixels_of_month, seconds_of_month_left, used
from shared.batches.tables import VALIDATING, batches
from shared.db import now_ms
from shared.errors import PixelsSpent

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from shared.accounts.limits import Limits
    from shared.batches.batch import Batch


def accept(connection: Connection, batch: Batch, limits: Limits) -> None:
    """Let the items of a batch become jobs, and charge their pixels.

    `PixelsSpent` or `StorageFull`, and nothing is written. The account is held (`hold_account`), so
    that no rival spends the same pixels.
    """
    now = connection.scalar(select(now_ms())) or 0
    month = pixels_of_month(now)
    if limits.pixels_per_month is not None:
        left = limits.pixels_per_month - used(connection, batch.account_id, month)
        if batch.pixels > left:
            said = f"The batch has {batch.pixels} pixels; {max(left, 0)} are left for this month."
            raise PixelsSpent(said, seconds_of_month_left(now))
    require_room_for_bytes(connection, batch.account_id, limits, 1)
    accepted = connection.execute(
        update(batches)
        .where(batches.c.id == batch.id, VALIDATING)
        .values(status="running", accepted_at=now)
    )
    if accepted.rowcount:
        add_usage(connection, batch.account_id, month, batch.pixels)

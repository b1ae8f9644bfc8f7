"""What accounts have used: sums that are kept up to date in the transactions that change them.

A sum lies in a few rows, of which each change takes one at random: reading it is flat, and
transactions of one account seldom wait for each other. They come last in a transaction, so that
who waits for one holds up nobody else for long.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from shared.accounts.tables import account_usage
from shared.db import insert_unless_there

if TYPE_CHECKING:
    from sqlalchemy import Connection

SHARDS = 8
STORED_BYTES = "stored_bytes"


def pixels_of_month(milliseconds: int) -> str:
    """The kind of the pixels that are charged to the month (UTC) of this moment."""
    return f"pixels {datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m}"


def seconds_of_month_left(milliseconds: int) -> int:
    """Until the next month begins, in UTC; at least 1."""
    now = datetime.fromtimestamp(milliseconds / 1000, UTC)
    year, month = (now.year + now.month // 12, now.month % 12 + 1)
    return max(1, int((datetime(year, month, 1, tzinfo=UTC) - now).total_seconds()) + 1)


def add_usage(connection: Connection, account_id: str, kind: str, amount: int) -> None:
    """Count `amount` more; less, if it is negative."""
    if not amount:
        return
    row = insert_unless_there(connection, account_usage).values(
        account_id=account_id, kind=kind, shard=secrets.randbelow(SHARDS), amount=amount
    )
    connection.execute(
        row.on_conflict_do_update(
            index_elements=["account_id", "kind", "shard"],
            set_={"amount": account_usage.c.amount + row.excluded.amount},
        )
    )


def used(connection: Connection, account_id: str, kind: str) -> int:
    """The sum."""
    those = (account_usage.c.account_id == account_id, account_usage.c.kind == kind)
    return int(connection.scalar(select(func.sum(account_usage.c.amount)).where(*those)) or 0)

"""What accounts have used: sums that are kept up to date in the transactions that change them.

A sum lies in a few rows, of which each change takes one at random: reading it is flat, and
transactions of one account seldom wait for each other. They come last in a transaction, so that
who waits for one holds up nobody else for long.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text

from shared.accounts.tables import account_usage

if TYPE_CHECKING:
    from sqlalchemy import CTE, Connection

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
    row = {"account_id": account_id, "kind": kind, "shard": a_shard(), "amount": amount}
    connection.execute(_ADD, row)


def a_shard() -> int:
    """One of an account's rows, at random."""
    return secrets.randbelow(SHARDS)


#: Spelt out, since SQLAlchemy compiles its own `ON CONFLICT` anew each time: 0.5 ms.
_ADDED = (
    " ON CONFLICT (account_id, kind, shard)"
    " DO UPDATE SET amount = account_usage.amount + excluded.amount"
)
_INTO = "INSERT INTO account_usage (account_id, kind, shard, amount) "
_ADD = text(_INTO + "VALUES (:account_id, :kind, :shard, :amount)" + _ADDED)
_OF_ROWS = """SELECT account_id,
  'pixels ' || to_char(timezone('UTC', to_timestamp(created_at / 1000)), 'YYYY-MM'),
  CAST(:of_shard AS smallint), pixels FROM rows WHERE pixels > 0"""
_CHARGE = text(_INTO + _OF_ROWS + _ADDED)


def charging(rows: CTE) -> Any:
    """In a statement that writes `rows` of jobs: their pixels, for the month (PostgreSQL).

    The parameter `of_shard` is one of the account's rows.
    """
    assert rows.name == "rows"  # noqa: S101 - the text says so
    return _CHARGE.columns()


def used(connection: Connection, account_id: str, kind: str) -> int:
    """The sum."""
    those = (account_usage.c.account_id == account_id, account_usage.c.kind == kind)
    return int(connection.scalar(select(func.sum(account_usage.c.amount)).where(*those)) or 0)

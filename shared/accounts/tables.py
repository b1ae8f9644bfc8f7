"""Tables of accounts, their keys, what they have used, and which ones are gone."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
)

from shared.db import metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("deleting_at", BigInteger),  # its deletion has begun: nothing new is taken
    # Limits of its own; NULL: the settings' default, 0: none
    Column("limit_requests_per_s", BigInteger),
    Column("limit_queued_jobs", BigInteger),
    Column("limit_running_jobs", BigInteger),
    Column("limit_stored_bytes", BigInteger),
    Column("limit_pixels_per_month", BigInteger),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("secret_hash", LargeBinary(32), nullable=False),  # SHA-256: the secret is random
    Column("name", String(100)),
    Column("scopes", JSON(none_as_null=True)),  # NULL: all of them; the key is older than scopes
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),  # within a minute
)

#: What an account has used, in shards: a sum is flat, and rivals seldom meet on one row.
account_usage = Table(
    "account_usage",
    metadata,
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(20), primary_key=True),  # `stored_bytes`, or `pixels` of a month
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("amount", BigInteger, nullable=False),
)

#: Accounts that are gone, until no object of theirs can turn up any more.
deleted_accounts = Table(
    "deleted_accounts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("deleted_at", BigInteger, nullable=False),
    Index("ix_deleted_accounts_deleted_at", "deleted_at"),
)

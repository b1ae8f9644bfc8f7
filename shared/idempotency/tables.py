"""The table of idempotency keys."""

from __future__ import annotations

from sqlalchemy import (
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

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", LargeBinary(32), nullable=False),  # SHA-256 of the request
    Column("holder", String(32), nullable=False),  # whoever took it last: the fencing token
    # What was made; NULL while a request is at it
    Column("object_id", String(40)),
    Column("status", SmallInteger),
    # The end of the holder's lease; once something was made, of its being remembered.
    # Anybody may take a key whose time is over.
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_idempotency_keys_expires_at", "expires_at"),
)

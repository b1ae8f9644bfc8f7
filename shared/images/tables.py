"""The table of images."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from shared.db import metadata

images = Table(
    "images",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content_type", String(20), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    # Known once the bytes are here and were decoded; NULL while they are only announced.
    Column("object_key", String(300)),
    Column("width", Integer),
    Column("height", Integer),
    Column("has_alpha", Boolean),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    UniqueConstraint("account_id", "sha256"),
    Index("ix_images_expires_at", "expires_at"),
)

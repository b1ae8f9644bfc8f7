"""Tables of batches: what was sent, its items, and how many of them have ended."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    and_,
    exists,
    literal_column,
    text,
)

from shared.db import metadata

_ACTIVE = text("status IN ('validating', 'running')")
_WAITING = text("job_id IS NULL AND problem IS NULL")
_INVALID = text("problem IS NOT NULL")

batches = Table(
    "batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("status", String(12), nullable=False),
    # What was sent
    Column("skips_invalid", Boolean, nullable=False),
    Column("webhook", JSON(none_as_null=True)),
    Column("metadata", JSON, nullable=False),
    Column("retried_from", String(40)),
    Column("object_key", String(200)),  # of its stream; NULL once nobody needs it
    Column("size_bytes", BigInteger, nullable=False),
    # How far it was read
    Column("read_bytes", BigInteger, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("invalid", Integer, nullable=False),
    Column("pixels", BigInteger, nullable=False),  # charged to the month in which it was accepted
    # How far its items became jobs
    Column("waiting", Integer, nullable=False),  # neither jobs nor invalid
    Column("withdrawn", Integer, nullable=False),  # canceled before they became jobs
    Column("tended_at", BigInteger, nullable=False),  # whose turn it is
    Column("tended_until", BigInteger, nullable=False),  # others leave it alone until then
    # Times
    Column("created_at", BigInteger, nullable=False),
    Column("accepted_at", BigInteger),
    Column("cancel_requested_at", BigInteger),
    Column("finished_at", BigInteger),
    Index("ix_batches_list", "account_id", "id"),
    Index("ix_batches_turn", "account_id", "tended_at"),
    Index("ix_batches_active", "tended_at", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    Index("ix_batches_finished_at", "finished_at"),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True),  # 0: the batch as a whole
    Column("custom_id", String(128)),  # NULL for one that is invalid
    Column("priority", SmallInteger, nullable=False),
    Column("spec", JSON(none_as_null=True)),  # NULL once it is a job's
    Column("metadata", JSON(none_as_null=True)),
    Column("image_id", String(40)),
    Column("mask_id", String(40)),
    Column("pixels", BigInteger, nullable=False),
    Column("contents", JSON(none_as_null=True)),  # of its images, if its seed was given
    Column("job_id", String(40)),
    Column("problem", JSON(none_as_null=True)),  # of an invalid one: what it is called, and why
    Index("uq_batch_items_custom_id", "batch_id", "custom_id", unique=True),
    Index(
        "ix_batch_items_waiting", "batch_id", "priority", "line",
        sqlite_where=_WAITING, postgresql_where=_WAITING,
    ),
    Index("ix_batch_items_image", "image_id", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index("ix_batch_items_mask", "mask_id", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index(
        "ix_batch_items_invalid", "batch_id", "line",
        sqlite_where=_INVALID, postgresql_where=_INVALID,
    ),
)  # fmt: skip

#: How many items have ended, and how: the sum over a batch's rows, of which each end takes one.
batch_tallies = Table(
    "batch_tallies",
    metadata,
    Column("batch_id", ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("canceled", Integer, nullable=False),
    Column("expired", Integer, nullable=False),
)

#: Spelt out in the statement, so that the databases see that a partial index holds the rows.
WAITING = and_(batch_items.c.job_id.is_(None), batch_items.c.problem.is_(None))
INVALID = batch_items.c.problem.is_not(None)
VALIDATING = batches.c.status == literal_column("'validating'")
#: Where an item that waits names images; that its batch can still run; asked one after the other.
WAIT_FOR = (batch_items.c.image_id, batch_items.c.mask_id)
RUNNING = batches.c.status == literal_column("'running'")
ACTIVE = batches.c.status.in_([literal_column("'validating'"), literal_column("'running'")])
OF_ACTIVE = exists().where(batches.c.id == batch_items.c.batch_id, ACTIVE)

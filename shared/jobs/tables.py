"""Tables of jobs: what was asked, where it stands, what happened, labels, whose turn it is."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    literal_column,
    text,
)

from shared.db import metadata

_QUEUED = text("status = 'queued'")
_RUNNING = text("status = 'running'")
_SUCCEEDED = text("status = 'succeeded'")
_ACTIVE = text("status IN ('queued', 'running')")
_PICTURES = text("pictures_gone_at IS NULL")
_GONE = text("pictures_gone_at IS NOT NULL")
_OF_BATCH = text("batch_id IS NOT NULL")
_ACTIVE_OF_BATCH = text("batch_id IS NOT NULL AND status IN ('queued', 'running')")
_RAN = text("status = 'succeeded' AND claimed_at IS NOT NULL")
_ANSWERS = text("cache_key IS NOT NULL AND pictures_gone_at IS NULL")
_SHARES = text("origin_id IS NOT NULL AND pictures_gone_at IS NULL")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    # What was asked
    Column("engine", String(40), nullable=False),
    Column("priority", SmallInteger, nullable=False),  # 0 goes first
    Column("spec", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("image_id", String(40), nullable=False),
    Column("mask_id", String(40)),
    Column("timeout_s", Integer, nullable=False),
    Column("retried_from", String(40)),
    Column("batch_id", String(40)),  # whose item it is; the batch may be forgotten
    Column("trace_context", String(55)),  # traceparent of its submission; NULL: not traced
    Column("pixels", BigInteger),  # charged to the account's month; NULL: none
    # Where it stands
    Column("status", String(12), nullable=False),
    Column("attempt", Integer, nullable=False),  # rises at each claim: the fencing token
    Column("losses", Integer, nullable=False),  # leases that ran out
    Column("retries", Integer, nullable=False),  # waits after a retryable error
    Column("worker_id", String(100)),
    Column("lease_until", BigInteger),
    Column("run_after", BigInteger, nullable=False),
    Column("cancel_requested_at", BigInteger),
    Column("step", Integer, nullable=False),
    Column("steps", Integer),
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("stored_bytes", BigInteger),  # of the result's objects; NULL: none, or another row pays
    Column("origin_id", String(40)),  # the job that made the result's objects; NULL: this one
    Column("cache_key", LargeBinary(32)),  # of a result that may answer others
    # Times
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),  # of the first attempt
    Column("claimed_at", BigInteger),  # of the last attempt
    Column("deadline_at", BigInteger),  # started_at + timeout_s
    Column("finished_at", BigInteger),
    Column("expires_at", BigInteger),  # not to be started after
    Column("retain_until", BigInteger),  # its pictures are deleted after
    Column("pictures_gone_at", BigInteger),  # they were
    Column("forecast_at", BigInteger),  # when it was thought to end, as it was submitted
    Index(
        "ix_jobs_claim", "engine", "account_id", "priority", "id",
        sqlite_where=_QUEUED, postgresql_where=_QUEUED,
    ),
    Index("ix_jobs_lease", "lease_until", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
    Index("ix_jobs_expiry", "expires_at", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
    Index("ix_jobs_deadline", "deadline_at", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    Index("ix_jobs_image", "image_id", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    Index("ix_jobs_mask", "mask_id", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    Index("ix_jobs_list", "account_id", "id"),
    Index("ix_jobs_list_by_status", "account_id", "status", "id"),
    Index(
        "ix_jobs_retention", "retain_until",
        sqlite_where=_PICTURES, postgresql_where=_PICTURES,
    ),
    Index(
        "ix_jobs_batch", "batch_id", "id", sqlite_where=_OF_BATCH, postgresql_where=_OF_BATCH,
    ),
    Index(
        "ix_jobs_batch_active", "batch_id", "status",
        sqlite_where=_ACTIVE_OF_BATCH, postgresql_where=_ACTIVE_OF_BATCH,
    ),
    Index("ix_jobs_forget", "finished_at", sqlite_where=_GONE, postgresql_where=_GONE),
    Index(
        "ix_jobs_recent", "engine", "finished_at",
        sqlite_where=_SUCCEEDED, postgresql_where=_SUCCEEDED,
    ),  # of no use any more; the code before 0008 needs it
    Index("ix_jobs_runs", "engine", "finished_at", sqlite_where=_RAN, postgresql_where=_RAN),
    Index(
        "ix_jobs_cache", "account_id", "cache_key", "id",
        sqlite_where=_ANSWERS, postgresql_where=_ANSWERS,
    ),
    Index("ix_jobs_origin", "origin_id", "id", sqlite_where=_SHARES, postgresql_where=_SHARES),
)  # fmt: skip

#: Spelt out in the statement, so that the databases see that a partial index holds the rows.
QUEUED = jobs.c.status == literal_column("'queued'")
RUNNING = jobs.c.status == literal_column("'running'")
SUCCEEDED = jobs.c.status == literal_column("'succeeded'")
ACTIVE = jobs.c.status.in_([literal_column("'queued'"), literal_column("'running'")])

job_events = Table(
    "job_events",
    metadata,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("type", String(20), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

job_labels = Table(
    "job_labels",
    metadata,
    Column("account_id", String(40), primary_key=True),
    Column("label", LargeBinary(16), primary_key=True),  # of one pair of the job's metadata
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True),
)

turns = Table(
    "turns",
    metadata,
    Column("engine", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("served_at", BigInteger, nullable=False),
    Index("ix_turns_engine_served_at", "engine", "served_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("engine", String(40), nullable=False),
    Column("model_digest", String(80), nullable=False),
    Column("threads", Integer, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

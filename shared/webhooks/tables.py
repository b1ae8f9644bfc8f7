"""Tables of webhooks: endpoints, accounts' own secrets, deliveries and their attempts.

A delivery that waits is due at `next_at`. To claim it is to move that into the future: a
worker that dies leaves a delivery that becomes due again by itself. `attempt` rises at each
claim and is the fencing token; `tries` counts what the schedule counts.
"""

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
    Text,
    literal_column,
    text,
)

from shared.db import metadata

_PENDING = text("status = 'pending'")

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("url", String(2048), nullable=False),
    Column("events", JSON, nullable=False),  # filters, see events.py
    Column("description", String(500), nullable=False),
    Column("secret", LargeBinary, nullable=False),  # sealed, see sealing.py
    Column("previous_secret", LargeBinary),
    Column("previous_until", BigInteger),  # both sign until then
    Column("disabled_at", BigInteger),
    Column("disabled_reason", String(20)),  # owner, gone, failing
    Column("failing_since", BigInteger),  # the first failure after the last success
    Column("created_at", BigInteger, nullable=False),
    Index("ix_webhook_endpoints_account", "account_id", "id"),
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    # What is told, and to whom
    Column("event_id", String(40), nullable=False),  # the same for all who are told
    Column("event_type", String(60), nullable=False),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE")),  # it is rendered when sent
    Column("data", JSON(none_as_null=True)),  # of events that are about no job
    Column("endpoint_id", ForeignKey("webhook_endpoints.id", ondelete="CASCADE")),
    Column("url", String(2048)),  # when there is no endpoint: the job's own
    Column("lane", String(80), nullable=False),  # whose slowness it shares, see outbox.py
    # Where it stands
    Column("status", String(12), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger),  # a worker is sending it; next_at is the same then
    # Times
    Column("created_at", BigInteger, nullable=False),
    Column("asked_at", BigInteger, nullable=False),  # when it was made, or asked for again
    Column("finished_at", BigInteger),
    Index(
        "ix_webhook_deliveries_lane", "lane", "next_at",
        sqlite_where=_PENDING, postgresql_where=_PENDING,
    ),
    Index(
        "ix_webhook_deliveries_due", "next_at",
        sqlite_where=_PENDING, postgresql_where=_PENDING,
    ),
    Index(
        "ix_webhook_deliveries_stale", "asked_at",
        sqlite_where=_PENDING, postgresql_where=_PENDING,
    ),
    Index("ix_webhook_deliveries_list", "account_id", "id"),
    Index("ix_webhook_deliveries_list_by_status", "account_id", "status", "id"),
    # With the account, or SQLite would rather walk through all that the account has
    Index("ix_webhook_deliveries_endpoint", "endpoint_id", "account_id", "id"),
    Index("ix_webhook_deliveries_endpoint_by_status", "endpoint_id", "account_id", "status", "id"),
    Index("ix_webhook_deliveries_job", "job_id", "account_id", "id"),
    Index("ix_webhook_deliveries_retention", "finished_at"),
)  # fmt: skip

#: Spelt out in the statement, so that the databases see that a partial index holds the rows.
PENDING = webhook_deliveries.c.status == literal_column("'pending'")

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column(
        "delivery_id", ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("attempt", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("http_status", SmallInteger),
    Column("answer", Text),  # its first kilobyte
    Column("error", String(40)),
    Column("detail", String(200)),
)

"""The table of the audit log."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from shared.db import metadata

#: Without foreign keys: an entry outlives the key, and the account's last one the account.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", String(40), primary_key=True),  # in the order of time
    Column("account_id", String(40), nullable=False),
    Column("action", String(60), nullable=False),
    Column("subject", String(100), nullable=False),  # the id of what was changed
    Column("details", JSON, nullable=False),
    Column("actor", String(10), nullable=False),  # `key`, `cli` or `service`
    Column("actor_id", String(100), nullable=False),  # the key's id, or who ran the command
    Column("request_id", String(128)),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_audit_log_account", "account_id", "id"),
    Index("ix_audit_log_action", "account_id", "action", "id"),
    Index("ix_audit_log_subject", "account_id", "subject", "id"),
    Index("ix_audit_log_actor", "account_id", "actor_id", "id"),
)

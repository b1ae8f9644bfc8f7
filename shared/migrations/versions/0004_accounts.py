"""Accounts: keys with scopes, limits, usage, audit"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

LIMITS = ("requests_per_s", "queued_jobs", "running_jobs", "stored_bytes", "pixels_per_month")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("deleting_at", sa.BigInteger(), nullable=True))
    for name in LIMITS:
        op.add_column("accounts", sa.Column(f"limit_{name}", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("name", sa.String(length=100), nullable=True))
    op.add_column("api_keys", sa.Column("scopes", sa.JSON(none_as_null=True), nullable=True))
    for name in ("expires_at", "last_used_at"):
        op.add_column("api_keys", sa.Column(name, sa.BigInteger(), nullable=True))
    for name in ("pixels", "stored_bytes"):
        op.add_column("jobs", sa.Column(name, sa.BigInteger(), nullable=True))
    _create_usage()
    _create_audit_log()


def _create_usage() -> None:
    op.create_table(
        "account_usage",
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_account_usage_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", "kind", "shard", name=op.f("pk_account_usage")),
    )
    op.execute(
        "INSERT INTO account_usage (account_id, kind, shard, amount)"
        " SELECT account_id, 'stored_bytes', 0, SUM(size_bytes)"
        " FROM images GROUP BY account_id"
    )
    op.create_table(
        "deleted_accounts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deleted_accounts")),
    )
    op.create_index("ix_deleted_accounts_deleted_at", "deleted_accounts", ["deleted_at"])


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=10), nullable=False),
        sa.Column("actor_id", sa.String(length=100), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_account", "audit_log", ["account_id", "id"])
    for name, column in (("action", "action"), ("subject", "subject"), ("actor", "actor_id")):
        op.create_index(f"ix_audit_log_{name}", "audit_log", ["account_id", column, "id"])


def downgrade() -> None:
    op.drop_table("audit_log")
    op.drop_table("deleted_accounts")
    op.drop_table("account_usage")
    for table, names in (
        ("jobs", ("stored_bytes", "pixels")),
        ("api_keys", ("last_used_at", "expires_at", "scopes", "name")),
        ("accounts", (*(f"limit_{name}" for name in reversed(LIMITS)), "deleting_at")),
    ):
        for name in names:
            op.drop_column(table, name)

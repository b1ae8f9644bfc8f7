"""Jobs that an earlier result answered"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

INDEXES = {
    "ix_jobs_runs": (["engine", "finished_at"], "status = 'succeeded' AND claimed_at IS NOT NULL"),
    "ix_jobs_cache": (
        ["account_id", "cache_key", "id"],
        "cache_key IS NOT NULL AND pictures_gone_at IS NULL",
    ),
    "ix_jobs_origin": (["origin_id", "id"], "origin_id IS NOT NULL AND pictures_gone_at IS NULL"),
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("origin_id", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("cache_key", sa.LargeBinary(length=32), nullable=True))
    for name, (columns, condition) in INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="jobs")
    op.drop_column("jobs", "cache_key")
    op.drop_column("jobs", "origin_id")

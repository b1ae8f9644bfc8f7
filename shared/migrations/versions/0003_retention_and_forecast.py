"""Results may go before their jobs; a job keeps its forecast"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("pictures_gone_at", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("forecast_at", sa.BigInteger(), nullable=True))
    op.drop_index("ix_jobs_retention", table_name="jobs")
    still_there = sa.text("pictures_gone_at IS NULL")
    op.create_index(
        "ix_jobs_retention", "jobs", ["retain_until"],
        sqlite_where=still_there, postgresql_where=still_there,
    )  # fmt: skip
    gone = sa.text("pictures_gone_at IS NOT NULL")
    op.create_index(
        "ix_jobs_forget", "jobs", ["finished_at"], sqlite_where=gone, postgresql_where=gone
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_forget", table_name="jobs")
    op.drop_index("ix_jobs_retention", table_name="jobs")
    op.create_index("ix_jobs_retention", "jobs", ["retain_until"])
    op.drop_column("jobs", "forecast_at")
    op.drop_column("jobs", "pictures_gone_at")

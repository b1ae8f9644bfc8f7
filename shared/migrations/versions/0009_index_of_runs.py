"""Jobs that ran and succeeded, by when"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations import online

revision = "0009"
down_revision = "0008"

WHERE = sa.text("status = 'succeeded' AND claimed_at IS NOT NULL")


def upgrade() -> None:
    online.create_index(
        "ix_jobs_runs",
        "jobs",
        ["engine", "finished_at"],
        sqlite_where=WHERE,
        postgresql_where=WHERE,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_runs", table_name="jobs")

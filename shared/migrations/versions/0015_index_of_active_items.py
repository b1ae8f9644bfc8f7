"""Jobs of a batch that have not ended"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations import online

revision = "0015"
down_revision = "0014"

WHERE = sa.text("batch_id IS NOT NULL AND status IN ('queued', 'running')")


def upgrade() -> None:
    online.create_index(
        "ix_jobs_batch_active",
        "jobs",
        ["batch_id", "status"],
        sqlite_where=WHERE,
        postgresql_where=WHERE,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_batch_active", table_name="jobs")

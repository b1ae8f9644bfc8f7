"""Jobs by their batch"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations import online

revision = "0014"
down_revision = "0013"

WHERE = sa.text("batch_id IS NOT NULL")


def upgrade() -> None:
    online.create_index(
        "ix_jobs_batch", "jobs", ["batch_id", "id"], sqlite_where=WHERE, postgresql_where=WHERE
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_batch", table_name="jobs")

"""Jobs by whose pictures they show"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations import online

revision = "0011"
down_revision = "0010"

WHERE = sa.text("origin_id IS NOT NULL AND pictures_gone_at IS NULL")


def upgrade() -> None:
    online.create_index(
        "ix_jobs_origin", "jobs", ["origin_id", "id"], sqlite_where=WHERE, postgresql_where=WHERE
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_origin", table_name="jobs")

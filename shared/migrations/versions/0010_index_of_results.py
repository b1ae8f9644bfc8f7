"""Results by what they are the answer to"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations import online

revision = "0010"
down_revision = "0009"

WHERE = sa.text("cache_key IS NOT NULL AND pictures_gone_at IS NULL")


def upgrade() -> None:
    online.create_index(
        "ix_jobs_cache",
        "jobs",
        ["account_id", "cache_key", "id"],
        sqlite_where=WHERE,
        postgresql_where=WHERE,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_cache", table_name="jobs")

"""Jobs that an earlier result answered"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("origin_id", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("cache_key", sa.LargeBinary(length=32), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "cache_key")
    op.drop_column("jobs", "origin_id")

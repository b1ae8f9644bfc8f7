"""Jobs that are items of batches"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("batch_id", sa.String(length=40), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "batch_id")

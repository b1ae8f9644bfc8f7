"""When an account's batches had their last turn"""

from __future__ import annotations

from alembic import op

from shared.migrations import online

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    online.create_index("ix_batches_turn", "batches", ["account_id", "tended_at"])


def downgrade() -> None:
    op.drop_index("ix_batches_turn", table_name="batches")

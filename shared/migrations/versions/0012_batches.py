"""Batches: many edits as one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

WAITING = sa.text("job_id IS NULL AND problem IS NULL")
INVALID = sa.text("problem IS NOT NULL")
ACTIVE = sa.text("status IN ('validating', 'running')")


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("skips_invalid", sa.Boolean(), nullable=False),
        sa.Column("webhook", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("retried_from", sa.String(length=40), nullable=True),
        sa.Column("object_key", sa.String(length=200), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("read_bytes", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("invalid", sa.Integer(), nullable=False),
        sa.Column("pixels", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("withdrawn", sa.Integer(), nullable=False),
        sa.Column("tended_at", sa.BigInteger(), nullable=False),
        sa.Column("tended_until", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=True),
        sa.Column("cancel_requested_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_batches_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index("ix_batches_list", "batches", ["account_id", "id"])
    op.create_index(
        "ix_batches_active", "batches", ["tended_at"], sqlite_where=ACTIVE, postgresql_where=ACTIVE
    )
    op.create_index("ix_batches_finished_at", "batches", ["finished_at"])
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.String(length=40), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("custom_id", sa.String(length=128), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("image_id", sa.String(length=40), nullable=True),
        sa.Column("mask_id", sa.String(length=40), nullable=True),
        sa.Column("pixels", sa.BigInteger(), nullable=False),
        sa.Column("contents", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_batch_items_batch_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "line", name=op.f("pk_batch_items")),
    )
    op.create_index(
        "uq_batch_items_custom_id", "batch_items", ["batch_id", "custom_id"], unique=True
    )
    for name, columns, where in (
        ("waiting", ["batch_id", "priority", "line"], WAITING),
        ("image", ["image_id"], WAITING),
        ("mask", ["mask_id"], WAITING),
        ("invalid", ["batch_id", "line"], INVALID),
    ):
        op.create_index(
            f"ix_batch_items_{name}", "batch_items", columns,
            sqlite_where=where, postgresql_where=where,
        )  # fmt: skip
    op.create_table(
        "batch_tallies",
        sa.Column("batch_id", sa.String(length=40), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("canceled", sa.Integer(), nullable=False),
        sa.Column("expired", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_batch_tallies_batch_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "shard", name=op.f("pk_batch_tallies")),
    )


def downgrade() -> None:
    op.drop_table("batch_tallies")
    op.drop_table("batch_items")
    op.drop_table("batches")

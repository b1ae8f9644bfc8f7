"""Labels of jobs"""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SLICE = 1000


def upgrade() -> None:
    op.create_table(
        "job_labels",
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("label", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_labels_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "label", "job_id", name=op.f("pk_job_labels")),
    )
    _label_the_jobs_that_are_there()
    op.create_index(op.f("ix_job_labels_job_id"), "job_labels", ["job_id"], unique=False)


def _label_the_jobs_that_are_there() -> None:
    connection = op.get_bind()
    jobs = sa.table(
        "jobs", sa.column("id"), sa.column("account_id"), sa.column("metadata", sa.JSON)
    )
    labels = sa.table(
        "job_labels", sa.column("account_id"), sa.column("label"), sa.column("job_id")
    )
    last = ""
    while rows := connection.execute(
        sa.select(jobs).where(jobs.c.id > last).order_by(jobs.c.id).limit(SLICE)
    ).all():
        last = rows[-1].id
        made = [
            {"account_id": account_id, "label": _label(key, value), "job_id": job_id}
            for job_id, account_id, metadata in rows
            for key, value in metadata.items()
        ]
        if made:
            connection.execute(sa.insert(labels), made)


def _label(key: str, value: str) -> bytes:
    """As `shared/jobs/labels.py` had it then."""
    pair = f"{len(key)}:{key}{value}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(pair).digest()[:16]


def downgrade() -> None:
    op.drop_table("job_labels")

"""The one place where a job changes state: the row, then its event, in one transaction.

So are the deliveries to whoever wants to be told of it (`shared/webhooks/outbox.py`). A job
that waits again stands in its engine's line again; one that ends in vain gives its pixels back to
the account's month.

Who may move a job is said by `where` (the account for its owner, the attempt for a
worker); from which states, by the table in `shared/jobs/state.py`. A row that does not
match stays as it is, so every move is safe to make twice.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, update

from shared.accounts.usage import add_usage, pixels_of_month
from shared.db import now_ms
from shared.jobs.job import Job, job_from_row
from shared.jobs.state import TRANSITIONS, JobState, Move
from shared.jobs.tables import job_events, jobs
from shared.jobs.turns import enter_line
from shared.webhooks.outbox import tell_of_jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

SOURCES = {move: [source.value for source, m in TRANSITIONS if m is move] for move in Move}
TARGET: dict[Move, JobState] = {move: target for (_, move), target in TRANSITIONS.items()}


def move_jobs(
    connection: Connection, move: Move, *where: ColumnElement[bool], **values: Any
) -> list[Job]:
    """Make `move` on every job that matches and may make it; those that were moved."""
    rows = connection.execute(
        update(jobs)
        .where(jobs.c.status.in_(SOURCES[move]), *where)
        .values(status=TARGET[move].value, **values)
        .returning(*jobs.c)
    ).all()
    moved = [job_from_row(row) for row in rows]
    for job in moved:
        record_event(connection, job)
    tell_of_jobs(connection, moved)
    if TARGET[move] is JobState.QUEUED:
        # Always in one order, so that no two wait for each other
        for engine, account_id in sorted({(job.spec.engine, job.account_id) for job in moved}):
            enter_line(connection, engine, account_id)
    _give_pixels_back([job for job in moved if is_in_vain(job, move)], connection)
    return moved


def is_in_vain(job: Job, move: Move) -> bool:
    """Whether nobody should pay for it: it failed, or was never begun."""
    return move in (Move.FAIL, Move.EXPIRE) or (move is Move.CANCEL and job.started_at is None)


def _give_pixels_back(ended: list[Job], connection: Connection) -> None:
    amounts: Counter[tuple[str, str]] = Counter()
    for job in ended:
        amounts[job.account_id, pixels_of_month(job.created_at)] += job.pixels or 0
    for (account_id, month), pixels in sorted(amounts.items()):  # always in one order, as above
        add_usage(connection, account_id, month, -pixels)


def record_event(connection: Connection, job: Job) -> None:
    """Write down the state that a job has just reached."""
    connection.execute(
        insert(job_events).values(
            job_id=job.id,
            type="status",
            data={"status": job.status.value, "attempt": job.attempt},
            created_at=now_ms(),
        )
    )

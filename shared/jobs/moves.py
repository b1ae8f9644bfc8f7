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
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, literal, literal_column, select, update

from shared.accounts.usage import add_usage, pixels_of_month
from shared.batches.tally import tally
from shared.db import now_ms, on_commit, planned_once
from shared.jobs.job import Job, job_from_row
from shared.jobs.state import TRANSITIONS, JobState, Move
from shared.jobs.tables import job_events, jobs
from shared.jobs.turns import enter_line
from shared.telemetry.metrics import JOB_MOVES
from shared.telemetry.tracing import NOBODY, mark, span, traceparent
from shared.webhooks.outbox import tell_of_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from sqlalchemy import CTE, ColumnClause, ColumnElement, Connection, Select
    from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

#: Spelt out in the statement: see `shared/jobs/tables.py`.
SOURCES: dict[Move, list[ColumnClause[Any]]] = {
    move: [literal_column(f"'{source.value}'") for source, m in TRANSITIONS if m is move]
    for move in Move
}
TARGET: dict[Move, JobState] = {move: target for (_, move), target in TRANSITIONS.items()}

_EVENT = insert(job_events).inline().values(type="status", created_at=now_ms())


class JobWrite:
    """A statement that gives whole rows of `jobs`, made once; its parameters come with each use.

    PostgreSQL is sent the events with it, as one statement: a round trip less.
    """

    def __init__(
        self, statement: ReturningUpdate[Any] | ReturningInsert[Any], *, is_by_key: bool = False
    ) -> None:
        """is_by_key: that it finds its rows by primary keys, so that PostgreSQL plans it once."""
        self.statement = statement
        self._is_by_key = is_by_key

    @cached_property
    def with_events(self) -> Select[Any]:
        """The same, and an event for each row."""
        return self.with_events_and()

    def with_events_and(
        self, *others: Callable[[CTE], Any], giving: Collection[str] | None = None
    ) -> Select[Any]:
        """Besides, what each of `others` writes of the rows. Gives these columns, or all."""
        rows = self.statement.cte("rows")
        data = func.json_build_object("status", rows.c.status, "attempt", rows.c.attempt)
        event = select(rows.c.id, literal("status"), data, now_ms())
        columns = ["job_id", "type", "data", "created_at"]
        events = insert(job_events).inline().from_select(columns, event).cte("events")
        made = [other(rows).cte(f"made_{n}") for n, other in enumerate(others)]
        given = rows.c if giving is None else [rows.c[name] for name in giving]
        statement = select(*given).add_cte(events, *made)
        return planned_once(statement) if self._is_by_key else statement


def write_jobs(connection: Connection, write: JobWrite, parameters: Mapping[str, Any]) -> list[Job]:
    """The jobs as they were written, each with the event of the state that it has now."""
    if connection.dialect.name == "postgresql":
        return [job_from_row(row) for row in connection.execute(write.with_events, parameters)]
    written = [job_from_row(row) for row in connection.execute(write.statement, parameters)]
    record_events(connection, written)
    return written


def record_events(connection: Connection, written: Iterable[Job]) -> None:
    """Write down the state that each of these jobs has just reached."""
    events = [
        {"job_id": job.id, "data": {"status": job.status.value, "attempt": job.attempt}}
        for job in written
    ]
    if events:
        connection.execute(_EVENT, events)


@dataclass(frozen=True, slots=True)
class PreparedMove:
    """A move that is made often."""

    move: Move
    write: JobWrite


def prepare_move(
    move: Move, *where: ColumnElement[bool], is_by_key: bool = False, **values: Any
) -> PreparedMove:
    """`move` of every job that matches and may make it; see `JobWrite`."""
    statement = (
        update(jobs)
        .where(jobs.c.status.in_(SOURCES[move]), *where)
        .values(status=TARGET[move].value, **values)
        .returning(*jobs.c)
    )
    return PreparedMove(move, JobWrite(statement, is_by_key=is_by_key))


def move_jobs(
    connection: Connection, move: Move | PreparedMove, *where: ColumnElement[bool], **values: Any
) -> list[Job]:
    """Make `move` on every job that matches and may make it; those that were moved.

    `values` are the row's new ones; of a prepared move, its parameters.
    """
    if isinstance(move, Move):
        move, values = prepare_move(move, *where, **values), {}
    moved = write_jobs(connection, move.write, values)
    if moved:
        on_commit(connection, partial(note_moves, move.move.value, moved))
    tell_of_jobs(connection, moved)
    if TARGET[move.move] is JobState.QUEUED:
        # Always in one order, so that no two wait for each other
        for engine, account_id in sorted({(job.spec.engine, job.account_id) for job in moved}):
            enter_line(connection, engine, account_id)
    tally(connection, moved)
    _give_pixels_back([job for job in moved if is_in_vain(job, move.move)], connection)
    return moved


def submit_jobs(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """New jobs from whole rows, of which only what all have alike is left out; with their events.

    They stand in their engines' lines. Whoever calls this holds their images. Each has a trace
    of its own.
    """
    connection.execute(_SUBMIT, [{**row, "trace_context": new_trace(row)} for row in rows])
    data = {"status": JobState.QUEUED.value, "attempt": 0}
    connection.execute(_EVENT, [{"job_id": row["id"], "data": data} for row in rows])
    for engine, account_id in sorted({(row["engine"], row["account_id"]) for row in rows}):
        enter_line(connection, engine, account_id)
    for engine, count in Counter(row["engine"] for row in rows).items():
        on_commit(connection, partial(JOB_MOVES.labels(engine, "submit").inc, count))


def new_trace(row: Mapping[str, Any]) -> str | None:
    """Of a job that no request submits by itself."""
    of = {"job_id": row["id"], "engine": row["engine"], "batch_id": row["batch_id"]}
    with span("submit job", kind="producer", parent=NOBODY, **of):
        return traceparent()


_SUBMIT = insert(jobs).values(
    status=JobState.QUEUED.value, attempt=0, losses=0, retries=0, run_after=0, step=0
)


def note_moves(move: str, moved: Iterable[Job]) -> None:
    """For `towline_job_moves_total`, and in each job's trace."""
    for job in moved:
        JOB_MOVES.labels(job.spec.engine, move).inc()
        mark(
            f"job {move}",
            job.trace_context,
            job_id=job.id,
            status=job.status.value,
            attempt=job.attempt,
            losses=job.losses,
        )


def is_in_vain(job: Job, move: Move) -> bool:
    """Whether nobody should pay for it: it failed, or was never begun."""
    return move in (Move.FAIL, Move.EXPIRE) or (move is Move.CANCEL and job.started_at is None)


def _give_pixels_back(ended: list[Job], connection: Connection) -> None:
    amounts: Counter[tuple[str, str]] = Counter()
    for job in ended:
        amounts[job.account_id, pixels_of_month(job.created_at)] += job.pixels or 0
    for (account_id, month), pixels in sorted(amounts.items()):  # always in one order, as above
        add_usage(connection, account_id, month, -pixels)

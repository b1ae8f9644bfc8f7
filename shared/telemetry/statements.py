"""A span for each statement that is sent to the database as a part of something that is traced.

Of our own, since OpenTelemetry's instrumentation of SQLAlchemy makes a trace of every statement
that has none, and here workers ask for work, and the sweep looks, all day long. The text is as it
is sent: with placeholders, without the values.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from shared.telemetry.tracing import Span, begun

if TYPE_CHECKING:
    from sqlalchemy import Engine, ExceptionContext

LONGEST = 4096  #: characters of a statement that are shown

_SPAN = "_towline_span"
_VERB = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
#: Not `FOR UPDATE`, `FOR NO KEY UPDATE`, `DO UPDATE`.
_CHANGE = re.compile(
    r"\b(INSERT INTO|(?<!FOR )(?<!KEY )(?<!DO )UPDATE|DELETE FROM)\s+(\w+)", re.IGNORECASE
)
_FROM = re.compile(r"\bFROM\s+(\w+)\b(?!\()", re.IGNORECASE)  # not `EXTRACT(EPOCH FROM now())`


def trace_statements(engine: Engine) -> None:
    """From now on, those of this engine."""
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)


def _begin(
    connection: Any, _cursor: object, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    summary = summary_of(statement)
    own = begun(
        summary,
        kind="client",
        **{
            "db.system.name": connection.dialect.name,
            "db.query.summary": summary,
            "db.query.text": statement[:LONGEST],
            "db.operation.batch.size": _rows(parameters) if many else None,
        },
    )
    if own is not None:
        setattr(context, _SPAN, own)


def _end(_c: object, _k: object, _s: object, _p: object, context: Any, _many: bool) -> None:
    own = _taken(context)
    if own is not None:
        own.end()


def _fail(failed: ExceptionContext) -> None:
    own = _taken(failed.execution_context)
    if own is not None:
        own.fail(type(failed.original_exception).__name__)
        own.end()


def _taken(context: Any) -> Span | None:
    own: Span | None = getattr(context, _SPAN, None)
    if own is not None:
        setattr(context, _SPAN, None)
    return own


@lru_cache(512)
def summary_of(statement: str) -> str:
    """What it does to which table first of all: `INSERT jobs`, `SELECT images`, `BEGIN`.

    A change counts before a look: `WITH ... UPDATE turns ...` is an update.
    """
    if change := _CHANGE.search(statement):
        return f"{change[1].split()[0].upper()} {change[2]}"
    if not (verb := _VERB.search(statement)):
        return statement.split(None, 1)[0].upper() if statement.strip() else "empty"
    table = _FROM.search(statement)
    return f"{verb[1].upper()} {table[1]}" if table else verb[1].upper()


def _rows(parameters: Any) -> int | None:
    """How many rows are written; None where their values come as those of one statement."""
    return len(parameters) if isinstance(parameters, list) else None

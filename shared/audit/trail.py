"""How a change gets its entry in the audit log: in the very transaction that makes it.

Who acts is said once, where a request or a command begins (`act_as`); a store says what it
does (`note`). Where nobody acts (workers, the sweep) nothing is written: what they do to a
job is in its events.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import bindparam, insert, literal, select

from shared.audit.tables import audit_log
from shared.db import now_ms
from shared.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, Connection


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever made a change: a key by its id, a user of the command line, the service itself."""

    kind: Literal["key", "cli", "service"]
    id: str
    request_id: str | None = None


_acting: ContextVar[Actor | None] = ContextVar("acting", default=None)


def act_as(actor: Actor | None) -> None:
    """From here on, in this thread, changes are this one's."""
    _acting.set(actor)


def note(
    connection: Connection, account_id: str, action: str, subject: str, **details: Any
) -> None:
    """Write down a change of `subject`, such as `job.created`; `details` hold no secret."""
    actor = _acting.get()
    if actor is not None:
        note_by(actor, connection, account_id, action, subject, **details)


def note_by(
    actor: Actor,
    connection: Connection,
    account_id: str,
    action: str,
    subject: str,
    **details: Any,
) -> None:
    """The same, of a change that this one made, whoever acts in this thread."""
    entry = {"account_id": account_id, "action": action, "subject": subject, "details": details}
    connection.execute(_NOTE, {**entry, **_entry_of(actor)})


def by_whom() -> dict[str, Any] | None:
    """An entry's id, and who acts; None where nobody does."""
    actor = _acting.get()
    return None if actor is None else _entry_of(actor)


def _entry_of(actor: Actor) -> dict[str, Any]:
    return {
        "id": new_id("aud"),
        "actor": actor.kind,
        "actor_id": actor.id,
        "request_id": actor.request_id,
    }


def noting(rows: CTE, action: str, details: ColumnElement[Any]) -> Any:
    """In a statement that writes `rows`: an entry for each.

    Its parameters are what `by_whom` gives, each with `entry_` before its name.
    """
    names = ("id", "actor", "actor_id", "request_id")
    given = [bindparam(f"entry_{name}", type_=audit_log.c[name].type) for name in names]
    entry = select(
        rows.c.account_id, literal(action), rows.c.id, details, now_ms(), *given
    ).select_from(rows)
    columns = ["account_id", "action", "subject", "details", "created_at", *names]
    return insert(audit_log).inline().from_select(columns, entry)


_NOTE = insert(audit_log).values(created_at=now_ms())

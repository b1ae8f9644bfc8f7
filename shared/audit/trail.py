"""How a change gets its entry in the audit log: in the very transaction that makes it.

Who acts is said once, where a request or a command begins (`act_as`); a store says what it
does (`note`). Where nobody acts (workers, the sweep) nothing is written: what they do to a
job is in its events.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import insert

from shared.audit.tables import audit_log
from shared.db import now_ms
from shared.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asked for a change: a key by its id, or a user of the command line."""

    kind: Literal["key", "cli"]
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
    if actor is None:
        return
    connection.execute(
        insert(audit_log).values(
            id=new_id("aud"),
            account_id=account_id,
            action=action,
            subject=subject,
            details=details,
            actor=actor.kind,
            actor_id=actor.id,
            request_id=actor.request_id,
            created_at=now_ms(),
        )
    )

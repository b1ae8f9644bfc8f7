"""The audit log as its account reads it, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from shared.audit.tables import audit_log
from shared.db import now_ms

if TYPE_CHECKING:
    from shared.db import Database

SLICE = 1000  #: entries that one transaction forgets at the most
FILTERS = ("action", "subject", "actor_id")  #: columns that an index leads to


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `audit_log`."""

    id: str
    account_id: str
    action: str
    subject: str
    details: Mapping[str, Any]
    actor: str
    actor_id: str
    request_id: str | None
    created_at: int


class AuditLog:
    """What was changed, the newest first."""

    def __init__(self, database: Database, *, retention_days: float) -> None:
        self._database = database
        self._retention_ms = int(retention_days * 86_400_000)

    def page(
        self, account_id: str, *, limit: int, before: str | None = None, **wanted: str | None
    ) -> list[Entry]:
        """At most `limit` entries older than `before`; `wanted`: values of `FILTERS`."""
        query = select(audit_log).where(audit_log.c.account_id == account_id)
        if before is not None:
            query = query.where(audit_log.c.id < before)
        for name in FILTERS:
            if (value := wanted.get(name)) is not None:
                query = query.where(audit_log.c[name] == value)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(audit_log.c.id.desc()).limit(limit)).all()
        return [Entry(**row._mapping) for row in rows]

    def forget_old(self) -> int:
        """Delete a slice of what is past its retention; how many entries went.

        Ids are in the order of time, so the oldest are found without an index of their times.
        """
        oldest = select(audit_log.c.id, audit_log.c.created_at).order_by(audit_log.c.id)
        with self._database.writing() as connection:
            limit = (connection.scalar(select(now_ms())) or 0) - self._retention_ms
            rows = connection.execute(oldest.limit(SLICE)).all()
            ids = [row.id for row in rows if row.created_at < limit]
            if ids:
                connection.execute(delete(audit_log).where(audit_log.c.id.in_(ids)))
        return len(ids)

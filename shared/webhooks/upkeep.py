"""What the sweep does to deliveries. Every method is safe to run twice, and by many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from shared.db import now_ms
from shared.webhooks.ends import fail
from shared.webhooks.schedule import GIVE_UP_S
from shared.webhooks.tables import PENDING, webhook_deliveries

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from shared.db import Database

deliveries = webhook_deliveries

SLICE = 500  #: rows that one transaction touches at the most


class DeliveryUpkeep:
    """Looks for what is due, gives up, and forgets."""

    def __init__(self, database: Database, *, time_scale: float, retention_days: float) -> None:
        self._database = database
        self._give_up_ms = int(GIVE_UP_S * time_scale * 1000)
        self._retention_ms = int(retention_days * 86_400_000)

    def is_anything_due(self) -> bool:
        """Whether a worker would find something, unless it lets the receiver rest."""
        first = select(deliveries.c.next_at).where(PENDING).order_by(deliveries.c.next_at).limit(1)
        with self._database.reading() as connection:
            return bool(connection.scalar(select(first.scalar_subquery() <= now_ms())))

    def give_up_stale(self) -> int:
        """Fail a slice of those that could not be delivered for five days; how many."""
        late = deliveries.c.asked_at < now_ms() - self._give_up_ms
        with self._database.writing() as connection:
            ids = _slice(connection, PENDING, late)
            fail(connection, ids, "given_up")
        return len(ids)

    def forget_old(self) -> int:
        """Delete a slice of those that ended long ago, with their attempts; how many."""
        late = deliveries.c.finished_at < now_ms() - self._retention_ms
        with self._database.writing() as connection:
            ids = _slice(connection, late)
            connection.execute(delete(deliveries).where(deliveries.c.id.in_(ids)))
        return len(ids)


def _slice(connection: Connection, *where: ColumnElement[bool]) -> list[str]:
    """Some of these, held for this transaction; those that a rival holds are left to it."""
    query = select(deliveries.c.id).where(*where).limit(SLICE).with_for_update(skip_locked=True)
    return list(connection.scalars(query))

"""How deliveries and endpoints end without a try of their own."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import insert, update

from shared.audit.trail import Actor, note_by
from shared.db import now_ms
from shared.webhooks.endpoint import DisabledBy, endpoint_from_row, show_endpoint
from shared.webhooks.outbox import tell_of_disabled
from shared.webhooks.status import Status
from shared.webhooks.tables import (
    PENDING,
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection


SERVICE = Actor("service", "webhooks")


def fail(
    connection: Connection, ids: Collection[str], error: str, *, is_claimed: bool = False
) -> None:
    """Give up on pending deliveries; why is in their log as one more attempt.

    is_claimed: the caller's claim has raised `attempt` for it already.
    """
    if not ids:
        return
    rows = connection.execute(
        update(webhook_deliveries)
        .where(webhook_deliveries.c.id.in_(ids), PENDING)
        .values(
            status=Status.FAILED.value,
            attempt=webhook_deliveries.c.attempt + (0 if is_claimed else 1),
            finished_at=now_ms(),
            lease_until=None,
        )
        .returning(
            webhook_deliveries.c.id, webhook_deliveries.c.attempt, webhook_deliveries.c.finished_at
        )
    ).all()
    attempts = [
        {"delivery_id": row.id, "attempt": row.attempt, "at": row.finished_at} for row in rows
    ]
    if attempts:
        connection.execute(insert(webhook_attempts).values(duration_ms=0, error=error), attempts)


def disable(connection: Connection, where: ColumnElement[bool], reason: DisabledBy) -> None:
    """Disable an endpoint that is not yet, and let the account's others be told."""
    rows = connection.execute(
        update(webhook_endpoints)
        .where(where, webhook_endpoints.c.disabled_at.is_(None))
        .values(disabled_at=now_ms(), disabled_reason=reason.value)
        .returning(*webhook_endpoints.c)
    ).all()
    for row in rows:
        action = "webhook_endpoint.disabled"
        note_by(SERVICE, connection, row.account_id, action, row.id, reason=reason.value)
        tell_of_disabled(connection, row, show_endpoint(endpoint_from_row(row)))

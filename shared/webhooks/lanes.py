"""Which lanes have something due, found without reading what else waits in them.

The index of pending deliveries begins with the lane: the next lane is one probe, its earliest
delivery another. A lane with a million of them costs as much as one with a single one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, String, cast, literal, select

from shared.db import now_ms
from shared.webhooks.tables import PENDING, webhook_deliveries

if TYPE_CHECKING:
    from sqlalchemy import Connection, ScalarSelect

deliveries = webhook_deliveries

STEPS = 500  #: lanes that one walk looks at


def walk(connection: Connection, after: str) -> list[tuple[str, bool]]:
    """The next lanes in which something waits, and whether anything is due in them."""
    first = select(_next_lane(literal(after)).label("lane"), literal(1, Integer).label("n"))
    lanes = first.cte("lanes", recursive=True)
    lanes = lanes.union_all(
        select(_next_lane(lanes.c.lane), lanes.c.n + 1).where(
            lanes.c.lane.is_not(None), lanes.c.n < STEPS
        )
    )
    earliest = (
        select(deliveries.c.next_at)
        .where(PENDING, deliveries.c.lane == lanes.c.lane)
        .order_by(deliveries.c.next_at)
        .limit(1)
        .scalar_subquery()
    )
    query = select(lanes.c.lane, earliest <= now_ms()).where(lanes.c.lane.is_not(None))
    return [(row[0], bool(row[1])) for row in connection.execute(query.order_by(lanes.c.lane))]


def hold(connection: Connection, lane: str, most: int) -> list[str]:
    """The ids of a lane's due deliveries, the longest due first; a rival's are left to it."""
    query = (
        select(deliveries.c.id)
        .where(PENDING, deliveries.c.lane == lane, deliveries.c.next_at <= now_ms())
        .order_by(deliveries.c.next_at)
        .limit(most)
    )
    return list(connection.scalars(query.with_for_update(skip_locked=True)))


def _next_lane(lane: Any) -> ScalarSelect[str]:
    return (
        select(cast(deliveries.c.lane, String))
        .where(PENDING, deliveries.c.lane > lane)
        .order_by(deliveries.c.lane)
        .limit(1)
        .scalar_subquery()
    )

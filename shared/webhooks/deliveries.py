"""Deliveries as their owners see them: look, send again. One transaction a method.

Every method takes the account; another account's delivery does not exist for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, or_, select, update

from shared.audit.trail import note
from shared.db import announce, now_ms
from shared.errors import EndpointDisabled, NotFound
from shared.webhooks.outbox import DELIVERIES
from shared.webhooks.status import Status
from shared.webhooks.tables import (
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from shared.db import Database

deliveries, endpoints = webhook_deliveries, webhook_endpoints

SLICE = 500  #: deliveries that one transaction asks for again
MOST = 10_000  #: that one call does


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. `error` is None when the receiver accepted it."""

    attempt: int
    at: int
    duration_ms: int
    http_status: int | None
    answer: str | None
    error: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one receiver. Times are milliseconds since 1970."""

    id: str
    event_id: str
    event_type: str
    job_id: str | None
    endpoint_id: str | None
    url: str
    status: Status
    next_at: int
    created_at: int
    finished_at: int | None
    attempts: tuple[Attempt, ...]


class DeliveryStore:
    """What owners may do with deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, account_id: str, delivery_id: str) -> Delivery:
        """The delivery with its attempts; `NotFound`."""
        with self._database.reading() as connection:
            return _read(connection, account_id, delivery_id)

    def page(
        self,
        account_id: str,
        *,
        limit: int,
        before: str | None = None,
        endpoint_id: str | None = None,
        job_id: str | None = None,
        status: Status | None = None,
    ) -> list[Delivery]:
        """At most `limit` deliveries, newest first, older than the delivery `before`."""
        where: list[ColumnElement[bool]] = [deliveries.c.account_id == account_id]
        if before is not None:
            where.append(deliveries.c.id < before)
        if endpoint_id is not None:
            where.append(deliveries.c.endpoint_id == endpoint_id)
        if job_id is not None:
            where.append(deliveries.c.job_id == job_id)
        if status is not None:
            where.append(deliveries.c.status == status.value)
        query = select(deliveries).where(*where).order_by(deliveries.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return _with_attempts(connection, list(connection.execute(query)))

    def replay(self, account_id: str, delivery_id: str) -> Delivery:
        """Send it again now, under the same event's id, with all its tries before it.

        One that waits is tried now; one that is being sent at this moment is left alone.
        `NotFound`, `EndpointDisabled`.
        """
        is_it = and_(deliveries.c.id == delivery_id, deliveries.c.account_id == account_id)
        with self._database.writing() as connection:
            delivery = _read(connection, account_id, delivery_id)
            _check_enabled(connection, delivery.endpoint_id)
            _ask_again(connection, is_it)
            note(connection, account_id, "webhook_delivery.replayed", delivery_id)
            return _read(connection, account_id, delivery_id)

    def replay_failed(self, account_id: str, endpoint_id: str, since: int) -> tuple[int, bool]:
        """Send an endpoint all that has failed since then; how many, and whether more are left.

        That is what has failed for good, and what waits for another try after one that failed.
        What fails again meanwhile is not asked for twice, and what somebody else holds at this
        moment is left. `NotFound`, `EndpointDisabled`.
        """
        with self._database.reading() as connection:
            until = connection.scalar(select(now_ms())) or 0
        theirs = (deliveries.c.endpoint_id == endpoint_id, deliveries.c.account_id == account_id)
        kinds = (  # one after the other: an index leads to each
            and_(*theirs, _has_failed(since, until)),
            and_(*theirs, _waits_to_retry(since, until)),
        )
        count = 0
        while count < MOST:
            with self._database.writing() as connection:
                _check_owned(connection, account_id, endpoint_id)
                ids: list[str] = []
                for kind in kinds:
                    query = select(deliveries.c.id).where(kind).limit(SLICE - len(ids))
                    ids += connection.scalars(query.with_for_update(skip_locked=True))
                if ids:
                    _ask_again(connection, deliveries.c.id.in_(ids))
                    action = "webhook_endpoint.failed_replayed"
                    note(connection, account_id, action, endpoint_id, count=len(ids))
            count += len(ids)
            if len(ids) < SLICE:
                break
        with self._database.reading() as connection:
            are_left = any(connection.scalar(select(exists().where(kind))) for kind in kinds)
        return count, are_left


def _has_failed(since: int, until: int) -> ColumnElement[bool]:
    """For good, in this time."""
    is_failed = deliveries.c.status == Status.FAILED.value
    return and_(is_failed, deliveries.c.finished_at.between(since, until))


def _waits_to_retry(since: int, until: int) -> ColumnElement[bool]:
    """Pending and not due yet, after a try that has failed in this time.

    Nobody sends it, and nobody has asked for it since `until`.
    """
    failed_at = webhook_attempts.c.at + webhook_attempts.c.duration_ms
    has_failed = exists().where(
        webhook_attempts.c.delivery_id == deliveries.c.id,
        webhook_attempts.c.error.is_not(None),
        failed_at.between(since, until),
    )
    return and_(
        deliveries.c.status == Status.PENDING.value,
        deliveries.c.lease_until.is_(None),
        deliveries.c.next_at > now_ms(),
        deliveries.c.asked_at <= until,
        has_failed,
    )


def _ask_again(connection: Connection, where: ColumnElement[bool]) -> None:
    is_idle = or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now_ms())
    connection.execute(
        update(deliveries)
        .where(where, is_idle)
        .values(
            status=Status.PENDING.value,
            tries=0,
            next_at=now_ms(),
            asked_at=now_ms(),
            lease_until=None,
            finished_at=None,
        )
    )
    announce(connection, DELIVERIES)


def _check_enabled(connection: Connection, endpoint_id: str | None) -> None:
    disabled_at = connection.scalar(
        select(endpoints.c.disabled_at).where(endpoints.c.id == endpoint_id)
    )
    if disabled_at is not None:
        raise EndpointDisabled(f"{endpoint_id} is disabled; enable it first.")


def _check_owned(connection: Connection, account_id: str, endpoint_id: str) -> None:
    owner = connection.scalar(select(endpoints.c.account_id).where(endpoints.c.id == endpoint_id))
    if owner != account_id:
        raise NotFound(f"There is no webhook endpoint {endpoint_id}.")
    _check_enabled(connection, endpoint_id)


def _read(connection: Connection, account_id: str, delivery_id: str) -> Delivery:
    where = (deliveries.c.id == delivery_id, deliveries.c.account_id == account_id)
    row = connection.execute(select(deliveries).where(*where)).first()
    if row is None:
        raise NotFound(f"There is no webhook delivery {delivery_id}.")
    return _with_attempts(connection, [row])[0]


def _with_attempts(connection: Connection, rows: list[Row[Any]]) -> list[Delivery]:
    if not rows:
        return []
    attempts = (
        select(webhook_attempts)
        .where(webhook_attempts.c.delivery_id.in_([row.id for row in rows]))
        .order_by(webhook_attempts.c.attempt)
    )
    found: dict[str, list[Attempt]] = {}
    for each in connection.execute(attempts):
        values = {name: each._mapping[name] for name in Attempt.__slots__}
        found.setdefault(each.delivery_id, []).append(Attempt(**values))
    ids = {row.endpoint_id for row in rows if row.endpoint_id}
    query = select(endpoints.c.id, endpoints.c.url).where(endpoints.c.id.in_(ids))
    urls = {each.id: each.url for each in connection.execute(query)}
    return [
        _delivery(row, row.url or urls[row.endpoint_id], tuple(found.get(row.id, ())))
        for row in rows
    ]


def _delivery(row: Row[Any], url: str, attempts: tuple[Attempt, ...]) -> Delivery:
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        event_type=row.event_type,
        job_id=row.job_id,
        endpoint_id=row.endpoint_id,
        url=url,
        status=Status(row.status),
        next_at=row.next_at,
        created_at=row.created_at,
        finished_at=row.finished_at,
        attempts=attempts,
    )

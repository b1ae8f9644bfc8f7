"""Who is told of an event: a row for each, in the transaction that makes the event true.

    job moved ──▶ one event ──▶ a delivery for each of the account's endpoints that wants it
                            ──▶ one for the URL that came with the job

Sending is another matter (`dispatch.py`): whoever commits this has promised it. An account
without endpoints costs one look-up in an index.

A lane is who is slow together: an endpoint, or the host of URLs that came with jobs. It begins
with the account, so that lanes of one account lie side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from shared.db import announce, now_ms
from shared.ids import new_id
from shared.webhooks.events import ENDPOINT_DISABLED, job_event, matches
from shared.webhooks.status import Status
from shared.webhooks.tables import webhook_deliveries, webhook_endpoints
from shared.webhooks.targets import origin_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from shared.edits import JobWebhook
    from shared.jobs.job import Job

DELIVERIES = "webhook deliveries"  #: the topic of `Database.after_commit`


def tell_of_jobs(connection: Connection, moved: Iterable[Job]) -> None:
    """Promise everybody concerned a message of the jobs that have ended just now."""
    ended = [job for job in moved if job.status.is_final]
    if not ended:
        return
    endpoints = _hold_endpoints(connection, {job.account_id for job in ended})
    rows: list[dict[str, Any]] = []
    for job in ended:
        kind, webhook = job_event(job.status), job.spec.webhook
        event = new_event(job.account_id, kind, job_id=job.id)
        rows += [
            to_endpoint(event, endpoint)
            for endpoint in endpoints.get(job.account_id, [])
            if matches(endpoint.events, kind)
        ]
        if webhook is not None and matches(webhook.events, kind):
            rows.append(_to_url(event, webhook.url))
    promise(connection, rows)


def tell_of_batch(
    connection: Connection,
    account_id: str,
    status: str,
    shown: Mapping[str, Any],
    webhook: JobWebhook | None,
) -> None:
    """Promise everybody concerned a message of a batch that has ended just now."""
    kind = f"batch.{status}"
    event = new_event(account_id, kind, data=shown)
    endpoints = _hold_endpoints(connection, [account_id]).get(account_id, [])
    rows = [to_endpoint(event, each) for each in endpoints if matches(each.events, kind)]
    if webhook is not None and matches(webhook.events, kind):
        rows.append(_to_url(event, webhook.url))
    promise(connection, rows)


def tell_of_disabled(connection: Connection, endpoint: Row[Any], shown: Mapping[str, Any]) -> None:
    """Promise the account's other endpoints a message that this one was disabled."""
    event = new_event(endpoint.account_id, ENDPOINT_DISABLED, data=shown)
    others = _hold_endpoints(connection, [endpoint.account_id]).get(endpoint.account_id, [])
    promise(
        connection,
        [
            to_endpoint(event, other)
            for other in others
            if other.id != endpoint.id and matches(other.events, ENDPOINT_DISABLED)
        ],
    )


def new_event(
    account_id: str, kind: str, *, job_id: str | None = None, data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What all rows of one event share. A job is shown when it is sent, `data` is kept."""
    return {
        "account_id": account_id,
        "event_id": new_id("evt"),
        "event_type": kind,
        "job_id": job_id,
        "data": data,
    }


def promise(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Write deliveries, due at once; a wake-up follows the commit."""
    if not rows:
        return
    now = now_ms()
    statement = insert(webhook_deliveries).values(
        status=Status.PENDING.value, attempt=0, tries=0, next_at=now, created_at=now, asked_at=now
    )
    connection.execute(statement, rows)
    announce(connection, DELIVERIES)


def to_endpoint(event: Mapping[str, Any], endpoint: Row[Any]) -> dict[str, Any]:
    """The row of an event for one endpoint, whose URL is looked up when it is sent."""
    lane = f"{endpoint.account_id}/{endpoint.id}"
    return {**event, "id": new_id("dlv"), "endpoint_id": endpoint.id, "url": None, "lane": lane}


def _to_url(event: Mapping[str, Any], url: str) -> dict[str, Any]:
    host = hashlib.sha256(origin_of(url).encode()).hexdigest()[:32]
    lane = f"{event['account_id']}/{host}"
    return {**event, "id": new_id("dlv"), "endpoint_id": None, "url": url, "lane": lane}


def account_of(lane: str) -> str:
    """The account that a lane belongs to."""
    return lane.partition("/")[0]


def _hold_endpoints(
    connection: Connection, account_ids: Collection[str]
) -> dict[str, list[Row[Any]]]:
    """The endpoints of these accounts that are not disabled; none can be deleted meanwhile."""
    rows = connection.execute(
        select(webhook_endpoints.c.id, webhook_endpoints.c.account_id, webhook_endpoints.c.events)
        .where(
            webhook_endpoints.c.account_id.in_(account_ids),
            webhook_endpoints.c.disabled_at.is_(None),
        )
        .order_by(webhook_endpoints.c.id)
        .with_for_update(read=True, key_share=True)
    )
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.account_id, []).append(row)
    return found

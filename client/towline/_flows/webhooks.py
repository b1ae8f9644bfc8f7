"""Webhook endpoints, what was sent to them, and the account's secret."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from towline._core.calling import call, model, nothing
from towline._core.context import Ask, Context, address, id_of, posting
from towline._core.effects import Flow, Items
from towline._core.payloads import Bytes, as_json
from towline._flows import things
from towline._flows.pages import given, pages
from towline.models import Replayed, WebhookDelivery, WebhookEndpoint, WebhookSecret

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINTS = "webhook-endpoints"
DELIVERIES = "webhook-deliveries"
SECRET = "webhook-secret"  # noqa: S105


def create(
    context: Context, body: Mapping[str, Any], *, key: str | None, timeout_s: float | None
) -> Flow[WebhookEndpoint]:
    """A new endpoint, with its secret."""
    ask = posting(address(ENDPOINTS), dict(body), key=key, timeout_s=timeout_s)
    return (yield from call(context, ask, model(WebhookEndpoint)))


def get(context: Context, endpoint: Any, *, timeout_s: float | None) -> Flow[WebhookEndpoint]:
    """An endpoint."""
    flow = things.get(context, ENDPOINTS, endpoint, WebhookEndpoint, timeout_s=timeout_s)
    return (yield from flow)


def list_all(context: Context, *, page_size: int) -> Items[WebhookEndpoint]:
    """The account's endpoints."""
    yield from pages(context, address(ENDPOINTS), WebhookEndpoint, (), page_size)


def update(
    context: Context, endpoint: Any, changes: Mapping[str, Any], *, timeout_s: float | None
) -> Flow[WebhookEndpoint]:
    """It as it is then; None leaves a part as it is."""
    body = {name: value for name, value in changes.items() if value is not None}
    ask = Ask(
        method="PATCH",
        path=address(ENDPOINTS, endpoint),
        headers={"Content-Type": "application/json"},
        body=Bytes(as_json(body)),
        timeout_s=timeout_s,
    )
    return (yield from call(context, ask, model(WebhookEndpoint)))


def delete(context: Context, endpoint: Any, *, timeout_s: float | None) -> Flow[None]:
    """It is gone."""

    def gone() -> None:
        """As it was wanted."""

    ask = Ask(method="DELETE", path=address(ENDPOINTS, endpoint), timeout_s=timeout_s)
    yield from call(context, ask, nothing, absent=gone)


def rotate_secret(
    context: Context, endpoint: Any, *, key: str | None, timeout_s: float | None
) -> Flow[WebhookEndpoint]:
    """It with its new secret."""
    ask = posting(address(ENDPOINTS, endpoint, "rotate-secret"), key=key, timeout_s=timeout_s)
    return (yield from call(context, ask, model(WebhookEndpoint)))


def test(
    context: Context, endpoint: Any, *, key: str | None, timeout_s: float | None
) -> Flow[WebhookDelivery]:
    """What is sent to it."""
    ask = posting(address(ENDPOINTS, endpoint, "test"), key=key, timeout_s=timeout_s)
    return (yield from call(context, ask, model(WebhookDelivery)))


def replay_failed(
    context: Context, endpoint: Any, since: datetime, *, timeout_s: float | None
) -> Flow[Replayed]:
    """How many; `ValueError` for a time that does not say of which zone."""
    if since.tzinfo is None:
        raise ValueError("since needs a time zone: datetime(..., tzinfo=UTC)")
    ask = Ask(
        method="POST",
        path=address(ENDPOINTS, endpoint, "replay-failed"),
        query=given(since=since.isoformat()),
        timeout_s=timeout_s,
    )
    return (yield from call(context, ask, model(Replayed)))


def deliveries(
    context: Context, *, endpoint: Any, job: Any, status: str | None, page_size: int
) -> Items[WebhookDelivery]:
    """What was sent."""
    query = given(
        endpoint=None if endpoint is None else id_of(endpoint),
        job=None if job is None else id_of(job),
        status=status,
    )
    yield from pages(context, address(DELIVERIES), WebhookDelivery, query, page_size)


def delivery(context: Context, thing: Any, *, timeout_s: float | None) -> Flow[WebhookDelivery]:
    """One of them."""
    flow = things.get(context, DELIVERIES, thing, WebhookDelivery, timeout_s=timeout_s)
    return (yield from flow)


def replay(context: Context, thing: Any, *, timeout_s: float | None) -> Flow[WebhookDelivery]:
    """It as it is then."""
    flow = things.act(context, DELIVERIES, thing, "replay", WebhookDelivery, timeout_s=timeout_s)
    return (yield from flow)


def secret(context: Context, *, timeout_s: float | None) -> Flow[WebhookSecret]:
    """The account's."""
    ask = Ask(method="GET", path=address(SECRET), timeout_s=timeout_s)
    return (yield from call(context, ask, model(WebhookSecret)))


def rotate_account_secret(
    context: Context, *, key: str | None, timeout_s: float | None
) -> Flow[WebhookSecret]:
    """The new one."""
    ask = posting(address(SECRET, "rotate"), key=key, timeout_s=timeout_s)
    return (yield from call(context, ask, model(WebhookSecret)))

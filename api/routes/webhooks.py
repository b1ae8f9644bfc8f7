"""`/v1/webhook-endpoints`, `/v1/webhook-deliveries` and `/v1/webhook-secret`."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from api.context import account_id, services
from api.idempotency import completion, idempotent, json_digest, no_digest
from api.openapi import no_content, operation_id, problems
from api.schemas.base import PageQuery
from api.schemas.webhooks import (
    DeliveriesOut,
    DeliveriesQuery,
    DeliveryOut,
    DeliveryPath,
    EndpointBody,
    EndpointOut,
    EndpointPatch,
    EndpointPath,
    EndpointsOut,
    EndpointWithSecretOut,
    ReplayOut,
    ReplayQuery,
    SecretOut,
    milliseconds_of,
)
from shared.errors import InvalidRequest, Violation
from shared.ids import is_id
from shared.times import rfc3339, rfc3339_or_none
from shared.webhooks.deliveries import Delivery
from shared.webhooks.endpoint import Endpoint, show_endpoint
from shared.webhooks.endpoints import Secret
from shared.webhooks.events import filter_violations
from shared.webhooks.status import Status
from shared.webhooks.targets import url_violations

webhooks = APIBlueprint(
    "webhooks", __name__, url_prefix="/v1", abp_tags=[Tag(name="webhooks")],
    abp_security=[{"key": []}], operation_id_callback=operation_id,
)  # fmt: skip


def _endpoint_again(endpoint_id: str, status: int) -> Any:
    """Its secret too: whoever repeats the request may not have got the first answer."""
    endpoints = services().webhooks.endpoints
    endpoint = endpoints.get(account_id(), endpoint_id)
    secret = endpoints.secret_of(account_id(), endpoint_id)
    return _created(endpoint, secret, status)


def _rotated_again(endpoint_id: str, status: int) -> Any:
    answer, status, _ = _endpoint_again(endpoint_id, status)
    return answer, status


def _created(endpoint: Endpoint, secret: str, status: int) -> Any:
    location = {"Location": f"/v1/webhook-endpoints/{endpoint.id}"}
    return {**show_endpoint(endpoint), "secret": secret}, status, location


def _secret_again(_account_id: str, status: int) -> Any:
    return _show_secret(services().webhooks.endpoints.account_secret(account_id())), status


def _delivery_again(delivery_id: str, status: int) -> Any:
    return _show(services().webhooks.deliveries.get(account_id(), delivery_id)), status


@webhooks.post(
    "/webhook-endpoints",
    responses={201: EndpointWithSecretOut, **problems(409, 413, 415, 422, 503)},
)
@idempotent(replay=_endpoint_again, digest=json_digest)
def create_webhook_endpoint(body: EndpointBody) -> Any:
    """Have the account's events sent to a URL. The secret is shown now, and to a replay of this."""
    _check(body, {"url", "events"})
    endpoint, secret = services().webhooks.endpoints.create(
        account_id(), **body.model_dump(), completion=completion(201)
    )
    return _created(endpoint, secret, 201)


@webhooks.get("/webhook-endpoints", responses={200: EndpointsOut, **problems(422, 503)})
def list_webhook_endpoints(query: PageQuery) -> Any:
    """The account's endpoints, newest first."""
    found = services().webhooks.endpoints.page(
        account_id(), limit=query.limit + 1, before=_cursor("ep", query)
    )
    page = found[: query.limit]
    next_cursor = page[-1].id if len(found) > query.limit else None
    return {"data": [show_endpoint(each) for each in page], "next_cursor": next_cursor}


@webhooks.get(
    "/webhook-endpoints/<endpoint:endpoint_id>",
    responses={200: EndpointOut, **problems(404, 503)},
)
def get_webhook_endpoint(path: EndpointPath) -> Any:
    """An endpoint, without its secret."""
    return show_endpoint(services().webhooks.endpoints.get(account_id(), path.endpoint_id))


@webhooks.patch(
    "/webhook-endpoints/<endpoint:endpoint_id>",
    responses={200: EndpointOut, **problems(404, 413, 415, 422, 503)},
)
def change_webhook_endpoint(path: EndpointPath, body: EndpointPatch) -> Any:
    """Change what is given. `disabled: false` enables an endpoint again."""
    _check(body, body.model_fields_set)
    return show_endpoint(
        services().webhooks.endpoints.change(
            account_id(), path.endpoint_id, **body.model_dump(exclude_unset=True)
        )
    )


@webhooks.delete(
    "/webhook-endpoints/<endpoint:endpoint_id>",
    responses={**no_content(), **problems(404, 503)},
)
def delete_webhook_endpoint(path: EndpointPath) -> Any:
    """Delete an endpoint and the log of its deliveries; what was not sent is not sent."""
    services().webhooks.endpoints.delete(account_id(), path.endpoint_id)
    return Response(status=204)


@webhooks.post(
    "/webhook-endpoints/<endpoint:endpoint_id>/rotate-secret",
    responses={200: EndpointWithSecretOut, **problems(404, 409, 422, 503)},
)
@idempotent(replay=_rotated_again, digest=no_digest)
def rotate_webhook_endpoint_secret(path: EndpointPath) -> Any:
    """A new secret. The old one signs as well for a day, so that receivers can change over."""
    endpoint, secret = services().webhooks.endpoints.rotate(
        account_id(), path.endpoint_id, completion(200)
    )
    return {**show_endpoint(endpoint), "secret": secret}


@webhooks.post(
    "/webhook-endpoints/<endpoint:endpoint_id>/test",
    responses={202: DeliveryOut, **problems(404, 409, 503)},
)
@idempotent(replay=_delivery_again, digest=no_digest)
def test_webhook_endpoint(path: EndpointPath) -> Any:
    """Send an `endpoint.test` event, whatever the endpoint's filters."""
    delivery_id = services().webhooks.endpoints.test(
        account_id(), path.endpoint_id, completion(202)
    )
    return _delivery_again(delivery_id, 202)


@webhooks.post(
    "/webhook-endpoints/<endpoint:endpoint_id>/replay-failed",
    responses={202: ReplayOut, **problems(404, 409, 422, 503)},
)
def replay_failed_deliveries(path: EndpointPath, query: ReplayQuery) -> Any:
    """Send again all that has failed since a time, ten thousand in one call at the most.

    What waits for its next try after one that failed is tried now.
    """
    count, has_more = services().webhooks.deliveries.replay_failed(
        account_id(), path.endpoint_id, milliseconds_of(query.since)
    )
    return {"replayed": count, "has_more": has_more}, 202


@webhooks.get("/webhook-deliveries", responses={200: DeliveriesOut, **problems(422, 503)})
def list_webhook_deliveries(query: DeliveriesQuery) -> Any:
    """What was sent, newest first, each with its attempts."""
    found = services().webhooks.deliveries.page(
        account_id(),
        limit=query.limit + 1,
        before=_cursor("dlv", query),
        endpoint_id=query.endpoint,
        job_id=query.job,
        status=Status(query.status) if query.status else None,
    )
    page = found[: query.limit]
    next_cursor = page[-1].id if len(found) > query.limit else None
    return {"data": [_show(each) for each in page], "next_cursor": next_cursor}


@webhooks.get(
    "/webhook-deliveries/<delivery:delivery_id>",
    responses={200: DeliveryOut, **problems(404, 503)},
)
def get_webhook_delivery(path: DeliveryPath) -> Any:
    """One event for one receiver, with its attempts."""
    return _show(services().webhooks.deliveries.get(account_id(), path.delivery_id))


@webhooks.post(
    "/webhook-deliveries/<delivery:delivery_id>/replay",
    responses={202: DeliveryOut, **problems(404, 409, 503)},
)
def replay_webhook_delivery(path: DeliveryPath) -> Any:
    """Send it again now, under the same `webhook-id`."""
    return _show(services().webhooks.deliveries.replay(account_id(), path.delivery_id)), 202


@webhooks.get("/webhook-secret", responses={200: SecretOut, **problems(409, 503)})
def get_webhook_secret() -> Any:
    """The account's secret, for the messages to URLs that came with jobs."""
    return _show_secret(services().webhooks.endpoints.account_secret(account_id()))


@webhooks.post("/webhook-secret/rotate", responses={200: SecretOut, **problems(409, 422, 503)})
@idempotent(replay=_secret_again, digest=no_digest)
def rotate_webhook_secret() -> Any:
    """A new secret for them. The old one signs as well for a day."""
    rotate = services().webhooks.endpoints.rotate_account_secret
    return _show_secret(rotate(account_id(), completion(200)))


def _check(body: EndpointBody | EndpointPatch, given: set[str]) -> None:
    found: list[Violation] = []
    if "url" in given:
        found += url_violations("/url", body.url, services().webhooks.rules)
    if "events" in given:
        found += filter_violations("/events", body.events)
    if found:
        raise InvalidRequest(found)


def _cursor(kind: str, query: PageQuery) -> str | None:
    if query.cursor is not None and not is_id(kind, query.cursor):
        raise InvalidRequest(
            [Violation("/cursor", "wrong_format", "use the `next_cursor` of the page before")]
        )
    return query.cursor


def _show_secret(secret: Secret) -> dict[str, Any]:
    return {
        "secret": secret.text,
        "previous_secret_expires_at": rfc3339_or_none(secret.previous_until),
    }


def _show(delivery: Delivery) -> dict[str, Any]:
    is_pending = delivery.status is Status.PENDING
    return {
        "id": delivery.id,
        "event": delivery.event_id,
        "type": delivery.event_type,
        "job": delivery.job_id,
        "endpoint": delivery.endpoint_id,
        "url": delivery.url,
        "status": delivery.status.value,
        "created_at": rfc3339(delivery.created_at),
        "next_attempt_at": rfc3339(delivery.next_at) if is_pending else None,
        "finished_at": rfc3339_or_none(delivery.finished_at),
        "attempts": [
            {
                "attempt": attempt.attempt,
                "at": rfc3339(attempt.at),
                "duration_ms": attempt.duration_ms,
                "http_status": attempt.http_status,
                "answer": attempt.answer,
                "error": attempt.error,
                "detail": attempt.detail,
            }
            for attempt in delivery.attempts
        ],
    }

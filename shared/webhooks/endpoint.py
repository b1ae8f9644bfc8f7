"""A webhook endpoint as a value: a URL that an account wants its events sent to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from shared.times import rfc3339, rfc3339_or_none

if TYPE_CHECKING:
    from sqlalchemy import Row


class DisabledBy(StrEnum):
    """Why nothing is sent to an endpoint."""

    OWNER = "owner"  #: said so
    GONE = "gone"  #: the receiver answered 410
    FAILING = "failing"  #: five days of nothing but failures


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row of `webhook_endpoints`, less its secrets. Times are milliseconds since 1970."""

    id: str
    account_id: str
    url: str
    events: tuple[str, ...]
    description: str
    previous_until: int | None
    disabled_at: int | None
    disabled_reason: str | None
    failing_since: int | None
    created_at: int


def endpoint_from_row(row: Row[Any]) -> Endpoint:
    """Read a row of `webhook_endpoints`."""
    values = {name: row._mapping[name] for name in Endpoint.__slots__}
    return Endpoint(**{**values, "events": tuple(values["events"])})


def show_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """The endpoint as the JSON of the contract."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "description": endpoint.description,
        "disabled": endpoint.disabled_at is not None,
        "disabled_at": rfc3339_or_none(endpoint.disabled_at),
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": rfc3339_or_none(endpoint.failing_since),
        "previous_secret_expires_at": rfc3339_or_none(endpoint.previous_until),
        "created_at": rfc3339(endpoint.created_at),
    }

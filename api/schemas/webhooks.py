"""What clients say and are told of webhooks."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas.base import PageQuery
from shared.ids import id_form
from shared.submission.fields import NO_NUL, Body, EventFilters, WebhookUrl

Description = Annotated[str, Field(max_length=500, pattern=NO_NUL)]

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def milliseconds_of(text: str) -> int:
    """A time of RFC 3339, in milliseconds since 1970; `ValueError`."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("expected a time such as 2026-11-23T04:05:06Z (RFC 3339)")
    return int(datetime.fromisoformat(text.upper()).timestamp() * 1000)


def _checked_time(text: str) -> str:
    milliseconds_of(text)
    return text


class EndpointBody(Body):
    """A URL that is told of the account's events."""

    url: WebhookUrl
    events: EventFilters = ["*"]
    description: Description = ""
    disabled: bool = False


def _without_defaults(schema: dict[str, Any]) -> None:
    """What is left out stays as it is: the defaults are only there to satisfy pydantic."""
    for part in schema["properties"].values():
        part.pop("default", None)


class EndpointPatch(Body):
    """What is to change; the rest stays."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    url: WebhookUrl = ""
    events: EventFilters = ["*"]
    description: Description = ""
    disabled: bool = False


class EndpointPath(BaseModel):
    """An endpoint's address."""

    endpoint_id: str


class DeliveryPath(BaseModel):
    """A delivery's address."""

    delivery_id: str


class DeliveriesQuery(PageQuery):
    """Which deliveries."""

    endpoint: Annotated[str, Field(pattern=f"^{id_form('ep')}$")] | None = None
    job: Annotated[str, Field(pattern=f"^{id_form('job')}$")] | None = None
    status: Literal["pending", "succeeded", "failed"] | None = None


class ReplayQuery(BaseModel):
    """From when on."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[
        str, AfterValidator(_checked_time), Field(json_schema_extra={"format": "date-time"})
    ]


class EndpointOut(BaseModel):
    """An endpoint; its secret is shown when it is made and when it is rotated."""

    id: str
    url: str
    events: list[str]
    description: str
    disabled: bool
    disabled_at: str | None
    disabled_reason: Literal["owner", "gone", "failing"] | None
    failing_since: str | None
    previous_secret_expires_at: str | None
    created_at: str


class EndpointWithSecretOut(EndpointOut):
    """An endpoint, and the secret that its messages are signed with."""

    secret: str


class EndpointsOut(BaseModel):
    """A page of endpoints, newest first."""

    data: list[EndpointOut]
    next_cursor: str | None


class SecretOut(BaseModel):
    """What signs the messages to URLs that came with jobs."""

    secret: str
    previous_secret_expires_at: str | None


class AttemptOut(BaseModel):
    """One try: what the receiver said, or why it was not asked."""

    attempt: int
    at: str
    duration_ms: int
    http_status: int | None
    answer: str | None
    error: str | None
    detail: str | None


class DeliveryOut(BaseModel):
    """One event for one receiver."""

    id: str
    event: str
    type: str
    job: str | None
    endpoint: str | None
    url: str
    status: Literal["pending", "succeeded", "failed"]
    created_at: str
    next_attempt_at: str | None
    finished_at: str | None
    attempts: list[AttemptOut]


class DeliveriesOut(BaseModel):
    """A page of deliveries, newest first."""

    data: list[DeliveryOut]
    next_cursor: str | None


class ReplayOut(BaseModel):
    """How many are sent again; ask once more if there are more."""

    replayed: int
    has_more: bool

"""What an account is told of itself, and of what was done in it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.base import PageQuery


class KeyOut(BaseModel):
    """The key that the request came with."""

    id: str
    name: str | None
    scopes: list[Literal["read", "write", "admin"]]
    created_at: str
    expires_at: str | None


class QuotasOut(BaseModel):
    """What the account may have at the most; null: any number."""

    requests_per_s: int | None
    queued_jobs: int | None
    running_jobs: int | None
    stored_bytes: int | None
    pixels_per_month: int | None


class UsageOut(BaseModel):
    """What it has now. Jobs are counted up to 10,000, or to the quota if that is more."""

    queued_jobs: int
    running_jobs: int
    stored_bytes: int
    pixels_per_month: int
    month_ends_at: str


class AccountOut(BaseModel):
    """The account of the key."""

    id: str
    name: str
    created_at: str
    key: KeyOut
    quotas: QuotasOut
    usage: UsageOut


class AuditQuery(PageQuery):
    """Which entries."""

    action: str | None = Field(None, max_length=60, description="such as job.created")
    subject: str | None = Field(None, max_length=100)
    key: str | None = Field(None, max_length=100, description="the id of a key")


class ActorOut(BaseModel):
    """Who did it: a key by its id, the user who ran a command, or the service itself."""

    type: Literal["key", "cli", "service"]
    id: str


class AuditEntryOut(BaseModel):
    """One change."""

    id: str
    created_at: str
    action: str
    subject: str
    actor: ActorOut
    request_id: str | None
    details: dict[str, Any]


class AuditLogOut(BaseModel):
    """One page, the newest first."""

    data: list[AuditEntryOut]
    next_cursor: str | None

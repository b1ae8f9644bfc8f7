"""Accounts and keys as values: rows as they were when they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.accounts.keys import Scope
from shared.accounts.limits import Limits


@dataclass(frozen=True, slots=True)
class Account:
    """`limits` are those that hold; `own_limits` what was set for this account (0: none)."""

    id: str
    name: str
    created_at: int
    deleting_at: int | None
    limits: Limits
    own_limits: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its secret."""

    id: str
    account_id: str
    name: str | None
    scopes: tuple[Scope, ...]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, by which key, and what both may."""

    account_id: str
    key: KeyInfo
    limits: Limits


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account has now; jobs are counted up to 10,000 or their limit.

    month_ends_at: when `pixels_per_month` begins at 0 again.
    """

    queued_jobs: int
    running_jobs: int
    stored_bytes: int
    pixels_per_month: int
    month_ends_at: int

"""What `/livez` and `/readyz` answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class CheckOut(BaseModel):
    """One server that this one needs."""

    ok: bool
    latency_ms: float
    error: str | None


class ReadyOut(BaseModel):
    """`ok`; `degraded`: jobs are taken but may wait; `unavailable`: jobs cannot be taken.

    `draining`: this process ends soon, send requests to another.
    """

    status: Literal["ok", "degraded", "unavailable", "draining"]
    checks: dict[str, CheckOut]


class LiveOut(BaseModel):
    """The process answers; `draining`: for a few seconds more."""

    status: Literal["ok", "draining"]

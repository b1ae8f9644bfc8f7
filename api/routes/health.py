"""`/livez` and `/readyz`: whether to restart this process, and whether to send it requests."""

from __future__ import annotations

from typing import Any

from flask_openapi3 import APIBlueprint, Tag

from api.context import context, services
from api.openapi import operation_id
from api.schemas.health import LiveOut, ReadyOut
from shared.readiness import servers

health = APIBlueprint(
    "health", __name__, abp_tags=[Tag(name="health")], operation_id_callback=operation_id
)


@health.get("/livez", responses={200: LiveOut})
def live() -> Any:
    """The process answers. `draining`: it is about to end, and still takes requests."""
    return {"status": "draining" if context().is_ending() else "ok"}


@health.get("/readyz", responses={200: ReadyOut, 503: ReadyOut})
def ready() -> Any:
    """Each server that is needed, with its latency. Jobs are taken without the broker.

    503 too when this process is about to end (`draining`).
    """
    status, checks = servers(services())
    if context().is_ending():
        status = "draining"
    return {"status": status, "checks": checks}, 200 if status in {"ok", "degraded"} else 503

"""`/livez` and `/readyz`: whether to restart this process, and whether to send it requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis
from flask_openapi3 import APIBlueprint, Tag

from api.context import services
from api.openapi import operation_id
from api.schemas.health import LiveOut, ReadyOut
from shared.errors import TowlineError

health = APIBlueprint(
    "health", __name__, abp_tags=[Tag(name="health")], operation_id_callback=operation_id
)


@health.get("/livez", responses={200: LiveOut})
def live() -> Any:
    """The process answers."""
    return {"status": "ok"}


@health.get("/readyz", responses={200: ReadyOut, 503: ReadyOut})
def ready() -> Any:
    """Each server that is needed, with its latency. Jobs are taken without the broker."""
    at = services()
    checks = {
        "database": _check(at.database.ping),
        "storage": _check(at.objects.check),
        "broker": _check(at.wakeups.ping),
    }
    if not (checks["database"]["ok"] and checks["storage"]["ok"]):
        return {"status": "unavailable", "checks": checks}, 503
    return {"status": "ok" if checks["broker"]["ok"] else "degraded", "checks": checks}


def _check(call: Callable[[], None]) -> dict[str, Any]:
    started, error = time.monotonic(), None
    try:
        call()
    except (TowlineError, redis.RedisError, OSError) as problem:
        error = type(problem).__name__
    latency_ms = round((time.monotonic() - started) * 1000, 1)
    return {"ok": error is None, "latency_ms": latency_ms, "error": error}

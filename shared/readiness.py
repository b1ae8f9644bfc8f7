"""Whether the servers that Towline needs answer, each by name: for `/readyz`, of API and worker.

Without the database or the storage nothing can be done. Without the broker all goes on, only
later: jobs are accepted, and workers look for work by themselves.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis

from shared.errors import TowlineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.services import Services


def servers(at: Services) -> tuple[str, dict[str, Any]]:
    """`ok`, `degraded` or `unavailable`; and each server: `ok`, `latency_ms`, `error`."""
    checks = {
        "database": _check(at.database.ping),
        "storage": _check(at.objects.check),
        "broker": _check(at.wakeups.ping),
    }
    if not (checks["database"]["ok"] and checks["storage"]["ok"]):
        return "unavailable", checks
    return ("ok" if checks["broker"]["ok"] else "degraded"), checks


def _check(call: Callable[[], None]) -> dict[str, Any]:
    started, error = time.monotonic(), None
    try:
        call()
    except (TowlineError, redis.RedisError, OSError) as problem:
        error = type(problem).__name__
    latency_ms = round((time.monotonic() - started) * 1000, 1)
    return {"ok": error is None, "latency_ms": latency_ms, "error": error}

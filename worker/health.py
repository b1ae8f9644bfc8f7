"""`/livez`, `/readyz` and `/metrics` of a worker, and of beat, on `TOWLINE_WORKER_PORT`.

Ready means that it can take work, not only that it is alive: it asked the database lately what
there is to do and was answered, or it has no free place. One that waits for Redis is `degraded`,
since it looks for work by itself meanwhile.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.readiness import servers

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.services import Services
    from worker.intake import Intake
    from worker.watch import Drain

log = structlog.get_logger()

LATE_LOOKS = 5  #: missed in a row, and the worker takes no work
SLACK_S = 15.0  #: a look may wait that long for the database and succeed


class Health:
    """What this process says of itself."""

    def __init__(self, services: Services, intake: Intake | None, drain: Drain) -> None:
        """`intake` of a process that runs engines; the others have none to look after."""
        self._services = services
        self._intake = intake
        self._drain = drain
        self._limit_s = LATE_LOOKS * services.settings.sweep_s + SLACK_S

    def live(self) -> tuple[int, dict[str, Any]]:
        """It answers."""
        return 200, {"status": "ok"}

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Whether it can take work, and why not."""
        status, checks = servers(self._services)
        if self._intake is not None:
            silent_s = self._intake.silent_s
            checks["work"] = {"ok": silent_s < self._limit_s, "silent_s": round(silent_s, 1)}
            if not checks["work"]["ok"]:
                status = "unavailable"
        if self._drain.has_begun:
            status = "draining"
        is_ready = status in {"ok", "degraded"}
        return 200 if is_ready else 503, {"status": status, "checks": checks}


class BeatHealth:
    """What beat says of itself: ready while its messages reach Redis."""

    def __init__(self, *, every_s: float) -> None:
        self._sent_at = time.monotonic()
        self._limit_s = LATE_LOOKS * every_s + SLACK_S

    def sent(self, **_: object) -> None:
        """A message was taken by Redis."""
        self._sent_at = time.monotonic()

    def live(self) -> tuple[int, dict[str, Any]]:
        """It answers."""
        return 200, {"status": "ok"}

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Whether it has sent something lately."""
        silent_s = time.monotonic() - self._sent_at
        is_ready = silent_s < self._limit_s
        checks = {"sent": {"ok": is_ready, "silent_s": round(silent_s, 1)}}
        status = "ok" if is_ready else "unavailable"
        return 200 if is_ready else 503, {"status": status, "checks": checks}


class HealthServer:
    """Serves what a process says of itself while the block runs; nothing without a port."""

    def __init__(self, health: Health | BeatHealth, host: str, port: int | None) -> None:
        self._server = (
            None if port is None else ThreadingHTTPServer((host, port), _handler_of(health))
        )

    def __enter__(self) -> Self:
        if self._server is not None:
            threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _as_json(status: int, body: dict[str, Any]) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(body).encode()


def _handler_of(health: Health | BeatHealth) -> type[BaseHTTPRequestHandler]:
    answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
        "/livez": lambda: _as_json(*health.live()),
        "/readyz": lambda: _as_json(*health.ready()),
        "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest()),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # of a client that says nothing

        def do_GET(self) -> None:
            answer = answers.get(self.path, lambda: _as_json(404, {"status": "no such page"}))
            status, content_type, data = answer()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
            log.debug("health_asked", request=format % args)

    return Handler

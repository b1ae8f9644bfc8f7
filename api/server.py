"""The API under gunicorn: threads for many who wait, and an end that makes nobody wait."""

from __future__ import annotations

import signal
from itertools import chain, repeat
from math import ceil
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from api.app import create_app
from api.context import EXTENSION
from shared.services import build_services

if TYPE_CHECKING:
    from flask import Flask

    from shared.settings import Settings

KEEPALIVE_S = 5


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with our settings; each worker process builds its own app and connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """gunicorn's settings, from ours."""
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        options = {
            "bind": f"{host}:{settings.port}",
            "workers": settings.api_processes,
            "worker_class": "gthread",
            "threads": settings.api_threads,
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": max(1, ceil(settings.drain_s)),
            "timeout": 120,
            "preload_app": False,
            "limit_request_line": 8190,  # filters by metadata are long
            "control_socket_disable": True,
            "when_ready": _second_is_quicker,
            "post_worker_init": _end_waits_first,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": settings.log_level.lower(),
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """The app of one worker process."""
        return create_app(build_services(self._settings))


def _second_is_quicker(arbiter: Any) -> None:
    """SIGTERM and SIGINT alike: the first lets requests end, for `drain_s`; the second does not.

    gunicorn's own first SIGINT cuts requests off, and its second SIGTERM does nothing.
    """
    meant = chain([signal.SIGTERM], repeat(signal.SIGQUIT))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, frame: arbiter.signal(next(meant), frame))


def _end_waits_first(worker: Any) -> None:
    """Put the end of every wait before gunicorn's own handling; a Ctrl-C reaches us as well."""
    watcher = worker.wsgi.extensions[EXTENSION].watcher
    gently: Any = signal.getsignal(signal.SIGTERM)
    at_once: Any = signal.getsignal(signal.SIGQUIT)
    for number, theirs in (
        (signal.SIGTERM, gently),
        (signal.SIGINT, gently),
        (signal.SIGQUIT, at_once),
    ):

        def handle(received: int, frame: Any, theirs: Any = theirs) -> None:
            watcher.close()
            theirs(received, frame)

        signal.signal(number, handle)

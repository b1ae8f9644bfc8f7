"""The API under gunicorn: threads for many who wait, and an end that makes nobody wait."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from itertools import chain, repeat
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker
from prometheus_client.multiprocess import mark_process_dead

from api.app import create_app
from api.context import EXTENSION
from api.routes.metrics import FOLDER, FOLDER_PREFIX
from shared.services import build_services
from shared.telemetry.tracing import start_tracing, stop_tracing

if TYPE_CHECKING:
    from flask import Flask

    from shared.settings import Settings

KEEPALIVE_S = 5
LINGER_S = 2.0  #: for a client that has its answer and should hang up


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's, but for one thing: whoever does not hang up holds up nobody else.

    Before it closes a connection for good it waits for the client to close its end (RFC 9112,
    section 9.6), in the thread that accepts for all. Here that is over before it comes to that.
    """

    def handle(self, conn: Any) -> Any:
        """Serve a request; linger in its own thread when the connection is not to be kept."""
        goes_on = super().handle(conn)
        if not goes_on:
            with suppress(OSError):
                _linger(conn.sock)
                conn.sock.shutdown(socket.SHUT_RDWR)  # nothing is left to wait for
        return goes_on


class Log(Logger):  # type: ignore[misc]
    """gunicorn's own lines, in the form of all others (`shared/telemetry/logging.py`)."""

    def setup(self, cfg: Any) -> None:
        """No handler here: the root's has them."""
        super().setup(cfg)
        self.error_log.propagate = True


def _linger(connection: socket.socket) -> None:
    """Until the client has closed its end: an earlier close could cost it the answer's end."""
    connection.shutdown(socket.SHUT_WR)
    ends = time.monotonic() + LINGER_S
    while (left_s := ends - time.monotonic()) > 0:
        connection.settimeout(left_s)
        if not connection.recv(4096):
            return


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
            "worker_class": Worker,
            "threads": settings.api_threads,
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": max(1, ceil(settings.drain_s)),
            "timeout": 120,
            "preload_app": False,
            "limit_request_line": 8190,  # filters by metadata are long
            "control_socket_disable": True,
            "when_ready": _second_is_quicker,
            "post_worker_init": _end_waits_first,
            "worker_exit": _send_last_spans,
            "child_exit": _forget_metrics_of,
            "on_exit": _forget_metrics,
            "accesslog": None,
            "errorlog": None,
            "logger_class": Log,
            "loglevel": settings.log_level.lower(),
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """The app of one worker process."""
        start_tracing("api")
        return create_app(build_services(self._settings))


def _send_last_spans(_arbiter: Any, _worker: Any) -> None:
    stop_tracing()


def _forget_metrics_of(_: Any, worker: Any) -> None:
    """A process that ended has counted what it counted, and holds nothing any more."""
    if FOLDER in os.environ:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _forget_metrics(_: Any) -> None:
    folder = Path(os.environ.get(FOLDER, ""))
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def _second_is_quicker(arbiter: Any) -> None:
    """SIGTERM and SIGINT alike: the first lets requests end, for `drain_s`; the second does not.

    gunicorn's own first SIGINT cuts requests off, and its second SIGTERM does nothing.
    """
    meant = chain([signal.SIGTERM], repeat(signal.SIGQUIT))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, frame: arbiter.signal(next(meant), frame))


def _end_waits_first(worker: Any) -> None:
    """End every wait and stream before gunicorn's own handling; a Ctrl-C reaches us as well."""
    notifier = worker.wsgi.extensions[EXTENSION].notifier
    gently: Any = signal.getsignal(signal.SIGTERM)
    at_once: Any = signal.getsignal(signal.SIGQUIT)
    for number, theirs in (
        (signal.SIGTERM, gently),
        (signal.SIGINT, gently),
        (signal.SIGQUIT, at_once),
    ):

        def handle(received: int, frame: Any, theirs: Any = theirs) -> None:
            notifier.close()
            theirs(received, frame)

        signal.signal(number, handle)

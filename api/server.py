"""The API under gunicorn: threads for many who wait, and an end that makes nobody wait."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import socket
import time
from contextlib import suppress
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
    """gunicorn's, but for two things.

    Whoever does not hang up holds up nobody else: before gunicorn closes a connection for good it
    waits for the client to close its end (RFC 9112, section 9.6), in the thread that accepts for
    all. Here that is over before it comes to that.

    Whoever has knocked is let in: told to end, gunicorn accepts no more, and resets those
    who came meanwhile when it is gone, their requests unanswered.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """At the end, take those who wait already; the others are refused, and can go elsewhere."""
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        for listener in self.sockets:
            known = -1
            while self.nr_conns > known:
                known = self.nr_conns
                self.accept(listener)
            listener.close()

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
        self._end = _Flag()
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
            "when_ready": self._heed_signals,
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
        return create_app(build_services(self._settings), self._end.is_up)

    def _heed_signals(self, arbiter: Any) -> None:
        """SIGTERM and SIGINT alike: the first lets requests end, the second does not.

        The first is told to whoever asks, for `drain_notice_s` in which requests are still taken;
        then those that run have `drain_s`. gunicorn's own first SIGINT cuts requests off, and its
        second SIGTERM does nothing.
        """

        def stop(_: int, frame: Any) -> None:
            arbiter.signal(signal.SIGTERM, frame)

        def heed(number: int, frame: Any) -> None:
            if self._end.is_up():
                arbiter.signal(signal.SIGQUIT, frame)
                return
            self._end.raise_()
            if self._settings.drain_notice_s:
                signal.setitimer(signal.ITIMER_REAL, self._settings.drain_notice_s)
            else:
                stop(number, frame)

        signal.signal(signal.SIGALRM, stop)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, heed)


class _Flag:
    """Raised in one process, and up in all that it has forked."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    def raise_(self) -> None:
        self._shared[0] = 1

    def is_up(self) -> bool:
        return self._shared[0] == 1


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

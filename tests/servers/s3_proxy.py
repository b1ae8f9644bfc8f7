"""A proxy before an S3 server that answers badly, or late, or half, as it is told."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LATE_S = 30.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


@dataclass
class Exchange:
    """A request on its way, and the answer on its way back; each may be altered."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    forward: Callable[[], None]
    status: int = 0
    answer: bytes = b""
    answer_headers: list[tuple[str, str]] = field(default_factory=list)
    announced_bytes: int | None = None  #: Content-Length of the answer, if not the right one
    is_reset: bool = False  #: the connection ends with RST, if there is no answer


Behaviour = Callable[[Exchange], None]


def pass_on(exchange: Exchange) -> None:
    """As if there were no proxy."""
    exchange.forward()


def overloaded(exchange: Exchange) -> None:
    """503, as S3 answers when too much is asked of it."""
    exchange.status = 503
    exchange.answer = b"<Error><Code>SlowDown</Code><Message>hush</Message></Error>"


def broken(exchange: Exchange) -> None:
    """500 without S3's words."""
    exchange.status, exchange.answer = 500, b"<html>oops</html>"


def late(exchange: Exchange) -> None:
    """No answer for longer than anybody waits."""
    time.sleep(LATE_S)


def hung_up(exchange: Exchange) -> None:
    """The connection ends without an answer."""


def done_but_hung_up(exchange: Exchange) -> None:
    """The server does it, and its answer is lost."""
    exchange.forward()
    exchange.status = 0


def cut_short(exchange: Exchange) -> None:
    """The answer breaks off in the middle."""
    exchange.forward()
    exchange.announced_bytes = len(exchange.answer)
    exchange.answer = exchange.answer[: len(exchange.answer) // 2]


def altered(exchange: Exchange) -> None:
    """A byte of the body changes on its way."""
    if exchange.body:
        exchange.body = bytes([exchange.body[0] ^ 1]) + exchange.body[1:]
    exchange.forward()


class S3Proxy:
    """Listens on a free port; `behave` says what happens, one behaviour a request."""

    def __init__(self, target: str) -> None:
        host, port = urlsplit(target).hostname or "", urlsplit(target).port or 80
        self._lock = threading.Lock()
        self._next: list[Behaviour] = []
        self._always: Behaviour = pass_on
        self.requests: list[tuple[str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                exchange = Exchange(self.command, self.path, dict(self.headers), body, lambda: None)
                exchange.forward = lambda: _forward(exchange, host, port)
                proxy._behaviour_of(exchange)(exchange)
                self.close_connection = True
                if exchange.status:
                    self._answer(exchange)
                elif exchange.is_reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    self.connection.close()

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

            def _answer(self, exchange: Exchange) -> None:
                size = exchange.announced_bytes
                self.send_response_only(exchange.status)
                for name, value in exchange.answer_headers:
                    self.send_header(name, value)
                if not any(name == "Content-Length" for name, _ in exchange.answer_headers):
                    size = len(exchange.answer) if size is None else size
                    self.send_header("Content-Length", str(size))
                self.send_header("Connection", "close")
                self.end_headers()
                if exchange.method != "HEAD":
                    self.wfile.write(exchange.answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> S3Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def behave(self, *then: Behaviour, always: Behaviour = pass_on) -> None:
        """These for the next requests, one each; `always` after them."""
        with self._lock:
            self._next, self._always, self.requests = list(then), always, []

    def _behaviour_of(self, exchange: Exchange) -> Behaviour:
        with self._lock:
            self.requests.append((exchange.method, exchange.path))
            return self._next.pop(0) if self._next else self._always


def _forward(exchange: Exchange, host: str, port: int) -> None:
    """The very headers, `Host` among them: it is signed."""
    connection = http.client.HTTPConnection(host, port, timeout=LATE_S)
    connection.putrequest(exchange.method, exchange.path, skip_host=True, skip_accept_encoding=True)
    for name, value in exchange.headers.items():
        if name.lower() not in {"connection", "expect"}:
            connection.putheader(name, value)
    connection.endheaders(exchange.body)
    answer = connection.getresponse()
    exchange.status, exchange.answer = answer.status, answer.read()
    kept = {"connection", "transfer-encoding"} | (
        {"content-length"} if exchange.method != "HEAD" else set()
    )
    exchange.answer_headers = [(n, v) for n, v in answer.getheaders() if n.lower() not in kept]
    connection.close()

"""The fake service behind a real socket, so that a command line in a process of its own can be
killed while it waits for any answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from towline.testing import FakeTowline

#: Is told of each request, before or after it was done; what it returns ends the connection.
Watcher = Callable[[str, httpx.Request], bool]


class FakedServer:
    """`FakeTowline` at an address of this machine; or, with `answer`, whatever that asks."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.watch: Watcher = lambda *_: False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.fake = FakeTowline(url=self.url)
        self._answer = answer or self.fake.handle_request
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = httpx.Request(
                    self.command,
                    f"{server.url}{self.path}",
                    headers=dict(self.headers),
                    content=self.rfile.read(length),
                )
                if server.watch("before", request):
                    self.close_connection = True
                    return
                response = server._answer(request)
                if server.watch("after", request):
                    self.close_connection = True
                    return
                self._send(response)

            def _send(self, response: httpx.Response) -> None:
                self.send_response(response.status_code)
                for name, value in response.headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding"):
                        self.send_header(name, value)
                if response.status_code != 204:
                    self.send_header("Content-Length", str(len(response.content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(response.content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """The tests look at the fake itself."""

        return Handler

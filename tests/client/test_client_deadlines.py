"""A server that says a little from time to time holds no call for longer than it may take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import towline
from towline import Timeouts

pytestmark = pytest.mark.slow
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
PAUSE_S = 0.2
CALL_S = 1.0


class Dripping:
    """Answers every request with these bytes at once, and with more of them one by one."""

    def __init__(self, at_once: bytes, then: bytes) -> None:
        self._at_once, self._then = at_once, then
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._is_over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(self._at_once)
                for byte in self._then:
                    if self._is_over.wait(PAUSE_S):
                        return
                    connection.sendall(bytes([byte]))
            except OSError:
                return

    def close(self) -> None:
        self._is_over.set()
        self._socket.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Dripping]]:
    servers: list[Dripping] = []

    def start(at_once: bytes, then: bytes) -> Dripping:
        servers.append(Dripping(at_once, then))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def _ends_in_time(client: Any) -> None:
    began = time.monotonic()
    with pytest.raises(towline.CallTimedOut):
        client.account.get()
    assert CALL_S / 2 < time.monotonic() - began < CALL_S + 1


def test_a_call_ends_in_its_time_when_a_body_comes_byte_by_byte(
    form: Callable[..., Any], start: Callable[..., Dripping]
) -> None:
    server = start(HEAD, b"{" + b" " * 99)
    with form(server.url, "k", timeout=Timeouts(call_s=CALL_S, silence_s=0.5)) as client:
        _ends_in_time(client)


def test_an_asynchronous_call_ends_in_its_time_when_headers_come_byte_by_byte(
    start: Callable[..., Dripping],
) -> None:
    from tests.client.blocking import Blocking

    server = start(b"", HEAD)
    with Blocking(server.url, "k", timeout=Timeouts(call_s=CALL_S, silence_s=0.5)) as client:
        _ends_in_time(client)

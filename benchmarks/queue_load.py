"""A client that costs little: requests made once, connections kept, answers read no further."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Sequence
from itertools import chain

from tests.crowd import in_threads

LIMIT_S = 30.0


class Connection:
    """HTTP/1.1 by hand: a client library would take as long as the servers that are measured."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def send(self, request: bytes) -> bytes:
        """The answer's body; it must be a 202."""
        self._socket.sendall(request)
        status = self._answers.readline()
        length = 0
        while (line := self._answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self._answers.read(length)
        assert b" 202 " in status, status + body
        return body

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A whole request."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def load(port: int, request: bytes, *, count: int, clients: int) -> tuple[float, list[float]]:
    """Send `count` requests over `clients` connections: seconds in all, and of each one."""

    def client(connection: Connection) -> list[float]:
        took = []
        for _ in range(count // clients):
            begun = time.perf_counter()
            connection.send(request)
            took.append(time.perf_counter() - begun)
        return took

    connections = [Connection(port) for _ in range(clients)]
    try:
        begun = time.perf_counter()
        took = list(chain(*in_threads(client, [(those,) for those in connections])))
        return time.perf_counter() - begun, took
    finally:
        for connection in connections:
            connection.close()


def middle_and_late(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    those = sorted(values)
    return statistics.median(those), those[min(len(those) - 1, int(len(those) * 0.99))]

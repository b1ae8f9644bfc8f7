"""Very many event streams, read by one thread: `Listeners`."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from tests.api.streaming import Told, read_events
from tests.crew import wait_until

LIMIT_S = 30.0


@dataclass
class Listener:
    """One stream: what came, and when (`time.monotonic()`)."""

    link: socket.socket
    received: bytes = b""
    events: list[tuple[float, Told]] = field(default_factory=list)
    has_ended: bool = False

    @property
    def status(self) -> int:
        return int(self.received.split(b" ", 2)[1])

    def wait_for_status(self) -> int:
        wait_until(lambda: b"\r\n" in self.received, LIMIT_S)
        return self.status

    def take(self, data: bytes) -> None:
        """Bytes of the answer, or its end; whole events are read at once."""
        now, before = time.monotonic(), len(self.events)
        self.received += data
        self.has_ended = not data
        _, _, body = self.received.partition(b"\r\n\r\n")
        whole = body[: body.rfind(b"\n\n") + 2] if b"\n\n" in body else b""
        told = [event for event in read_events([whole]) if event.id]
        self.events += [(now, event) for event in told[before:]]


class Listeners:
    """HTTP/1.0, so that a body is what comes until the connection is closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._is_over = False
        self.all: list[Listener] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def listen(self, job_id: str, key: str, last: str = "") -> Listener:
        """Open one more."""
        link = socket.create_connection(("127.0.0.1", self._port), LIMIT_S)
        link.sendall(
            f"GET /v1/jobs/{job_id}/events HTTP/1.0\r\nAuthorization: Bearer {key}\r\n"
            f"Last-Event-ID: {last}\r\n\r\n".encode()
        )
        link.setblocking(False)
        listener = Listener(link)
        self.all.append(listener)
        self._selector.register(link, selectors.EVENT_READ, listener)
        return listener

    def close(self) -> None:
        """Hang up everywhere."""
        self._is_over = True
        self._thread.join()
        for listener in self.all:
            listener.link.close()

    def _read(self) -> None:
        while not self._is_over:
            for ready, _ in self._selector.select(0.1):
                listener: Listener = ready.data
                data = b""
                with suppress(ConnectionError):
                    data = listener.link.recv(65536)
                listener.take(data)
                if listener.has_ended:
                    self._selector.unregister(listener.link)
                    listener.link.close()

"""Somebody else's server, to which webhooks are sent: real sockets, and any behaviour.

    with Receiver(lambda message: Reply(204)) as receiver:
        ... receiver.url("/hook") ... receiver.received

A thread with an event loop of its own. A reply can be late, break off, drip or never come.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Message:
    """What came. `number`: how many came before it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    number: int
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Reply:
    """What is answered. `raw` instead of the rest; None for a status resets the connection."""

    status: int | None = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    drip_s: float = 0.0  #: between any two bytes
    raw: bytes | None = None


HANG = Reply(delay_s=3600)
RESET = Reply(status=None)

Behaviour = Callable[[Message], Reply]


class Receiver:
    """Listens on a free port of this machine while the block runs."""

    def __init__(
        self, behave: Behaviour = lambda message: Reply(), tls: ssl.SSLContext | None = None
    ) -> None:
        self.behave = behave
        self.received: list[Message] = []
        self.connections = 0
        self.names: list[str | None] = []  #: that clients asked for in the TLS handshake
        self._tls = tls
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self.port = 0

    def __enter__(self) -> Self:
        if self._tls is not None:
            self._tls.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{self.port}{path}"

    def wait_for(self, count: int, limit_s: float = 20) -> list[Message]:
        """The messages, once there are so many."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.received) >= count, limit_s)
            assert arrived, f"{len(self.received)} messages, not {count}"
            return list(self.received)

    def _run(self) -> None:
        self._loop.set_exception_handler(lambda loop, context: None)  # clients break off
        self._loop.run_until_complete(self._listen())
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls, backlog=1000
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        message = await self._read(reader)
        reply = self.behave(message)
        with self._changed:
            self.received.append(message)
            self._changed.notify_all()
        await asyncio.sleep(reply.delay_s)
        if reply.status is None:
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        for chunk in _chunks(reply):
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(reply.drip_s)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Message:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = head[0].split(" ")
        return Message(method, path, headers, body, len(self.received))


def _chunks(reply: Reply) -> list[bytes]:
    if reply.raw is not None:
        data = reply.raw
    else:
        headers = {"content-length": str(len(reply.body)), **reply.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        data = f"HTTP/1.1 {reply.status} Said\r\n{lines}\r\n".encode() + reply.body
    return [data[i : i + 1] for i in range(len(data))] if reply.drip_s else [data]

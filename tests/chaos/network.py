"""Small TCP proxies, one between each process and each server, that go bad as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 64 * 1024
LIMIT_S = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
_OVERLOADED = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
REFUSAL = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_OVERLOADED), _OVERLOADED)
)


class Link:
    """The way from one process to one server. Its methods are called in the loop's thread."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._delay_s = 0.0
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Take connections on a port of its own."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        """Nothing goes through, and nobody is told."""
        self._open.clear()

    def slow_down(self, delay_s: float) -> None:
        """Whatever goes through waits so long first."""
        self._delay_s = delay_s

    def refuse(self) -> None:
        """503 to every request; connections that are open are reset."""
        self._refuses = True
        self.reset()

    def heal(self) -> None:
        """As if nothing had been."""
        self._refuses, self._delay_s = False, 0.0
        self._open.set()

    def reset(self) -> None:
        """End the connections there are, as when a firewall has forgotten them."""
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def close(self) -> None:
        """Take no more, and end what there is."""
        if self._server is not None:
            self._server.close()
        self.reset()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._refuses:
                await self._turn_away(reader, writer)
                return
            await self._open.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            self._drop(writer)
            return
        self._writers.add(back)
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._drop(writer, back)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            await self._open.wait()
            writer.write_eof()

    async def _turn_away(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
            writer.write(REFUSAL)
            await writer.drain()
            writer.write_eof()
            await asyncio.wait_for(reader.read(), LIMIT_S)  # what is still sent, so that no RST
        self._drop(writer)

    def _drop(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            self._writers.discard(writer)
            writer.transport.abort()


class Network:
    """Every link of a run, in one thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: dict[tuple[str, str], Link] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="network")
        self._thread.start()

    def connect(self, process: str, server: str, target_port: int) -> int:
        """Lay a link; the port at which the process finds the server."""
        link = Link(target_port)
        asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result(LIMIT_S)
        self._links[process, server] = link
        return link.port

    def tell(self, what: Callable[[Link], Any], *, process: str = "", server: str) -> None:
        """Do something to the link of a process, or to everybody's, and wait until it is done."""
        those = [
            link
            for (a_process, a_server), link in self._links.items()
            if a_server == server and process in ("", a_process)
        ]
        done: Future[None] = Future()

        def do() -> None:
            for link in those:
                what(link)
            done.set_result(None)

        self._loop.call_soon_threadsafe(do)
        done.result(LIMIT_S)

    def close(self) -> None:
        """Every connection ends, and the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _end(self) -> None:
        for link in self._links.values():
            link.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

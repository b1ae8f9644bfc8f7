"""One POST to somebody else's server: to an address that was checked, and within its time.

    URL ──read──▶ name ──look up──▶ addresses ──check every one──▶ connect to one of them

The name is looked up once for each try, and the connection goes to the very address that was
checked, so that no second look-up can lead elsewhere (DNS rebinding). Host, SNI and the check
of the certificate go by the name. There is nothing here that could follow a redirect, use a
proxy, keep a cookie or read more than a bound.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING

import h11
import structlog

from shared import __version__
from shared.webhooks.targets import Address, Refusal, Target, TargetRules, read_target

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

KEPT_BYTES = 1024  #: of an answer
BODY_S = 2.0  #: that an answer may take after its head: the status is what counts
CONNECT_S = 5.0  #: for one address, if there are others
MAX_HEAD_BYTES = 16 * 1024
READ_BYTES = 4096

LookUp = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a POST: a status, or an error in a word and a sentence."""

    http_status: int | None = None
    body: bytes = b""
    retry_after: str | None = None
    error: str | None = None
    detail: str | None = None
    duration_ms: int = 0


class PostFailed(Exception):
    """There is no answer; the code is for the log of the delivery."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


async def look_up(host: str, port: int) -> list[str]:
    """Every address of a name. A thread of its own: nobody waits for one that hangs."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str] | None, error: OSError | None) -> None:
        if not found.done():
            if error is None:
                found.set_result(addresses or [])
            else:
                found.set_exception(error)

    def ask() -> None:
        addresses, failure = None, None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as error:
            failure = error if isinstance(error, OSError) else OSError(str(error))
        with suppress(RuntimeError):  # the loop has ended: nobody wants to know any more
            loop.call_soon_threadsafe(settle, addresses, failure)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return await found


class Poster:
    """Sends; may be used by many tasks of one event loop."""

    def __init__(
        self,
        rules: TargetRules,
        *,
        timeout_s: float,
        ca_file: Path | None = None,
        look_up: LookUp = look_up,
    ) -> None:
        self._rules = rules
        self._timeout_s = timeout_s
        self._ca_file = ca_file
        self._look_up = look_up

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send `body` as JSON; never raises for what the receiver or the network does."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._post(url, headers, body)
        except TimeoutError:
            answer = Answer(error="timeout", detail=f"no answer within {self._timeout_s:g} s")
        except PostFailed as failed:
            answer = Answer(error=failed.code, detail=failed.detail)
        duration_ms = round((time.monotonic() - began) * 1000)
        return Answer(
            answer.http_status,
            answer.body,
            answer.retry_after,
            answer.error,
            answer.detail,
            duration_ms,
        )

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        target = read_target(url, self._rules)
        if isinstance(target, Refusal):
            raise PostFailed(target.code, target.detail)
        addresses = await self._checked_addresses(target)
        reader, writer = await self._connect(target, addresses)
        try:
            return await _exchange(target, headers, body, reader, writer)
        except OSError as error:
            raise PostFailed("connection_broken", _reason(error)) from error
        except h11.RemoteProtocolError as error:
            raise PostFailed("bad_answer", f"this is no HTTP: {error}"[:200]) from error
        finally:
            writer.transport.abort()  # nothing is left to say, and nothing to wait for

    async def _checked_addresses(self, target: Target) -> list[Address]:
        """Every address of the target; `PostFailed` if it has none, or one that is refused."""
        if target.address is not None:
            return [target.address]
        try:
            found = await self._look_up(target.host, target.port)
        except OSError as error:
            raise PostFailed("name_not_found", f"{target.host} has no address") from error
        addresses = [ip_address(text) for text in found]
        refused = [each for each in addresses if not self._rules.allows_address(each)]
        if refused:
            log.warning("webhook_address_refused", host=target.host, address=str(refused[0]))
            detail = f"{target.host} has an address that is not public"
            raise PostFailed("webhook_address_refused", detail)
        if not addresses:
            raise PostFailed("name_not_found", f"{target.host} has no address")
        return addresses

    async def _connect(
        self, target: Target, addresses: list[Address]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the first address that answers. What is dialled is the address, never the name."""
        failed: PostFailed | None = None
        for number, address in enumerate(addresses, start=1):
            limit_s = None if number == len(addresses) else CONNECT_S
            try:
                async with asyncio.timeout(limit_s):
                    return await asyncio.open_connection(
                        str(address),
                        target.port,
                        ssl=self._tls if target.is_tls else None,
                        server_hostname=target.host if target.is_tls else None,
                        limit=MAX_HEAD_BYTES,
                    )
            except ssl.SSLError as error:
                failed = PostFailed("tls_failed", _reason(error))
            except TimeoutError:
                if limit_s is None:
                    raise
                failed = PostFailed("connect_failed", f"{target.host} does not answer")
            except (OSError, ValueError) as error:  # ValueError: a name that TLS cannot take
                failed = PostFailed("connect_failed", _reason(error))
        raise failed or PostFailed("connect_failed", "there is no address")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        return context


async def _exchange(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> Answer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    all_headers = {
        "host": target.host_header,
        "user-agent": f"Towline/{__version__}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **headers,
    }
    request = h11.Request(method="POST", target=target.path, headers=list(all_headers.items()))
    for event in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(http.send(event) or b"")
    await writer.drain()
    head = await _read_head(http, reader)
    found = dict(head.headers)  # the last of a name wins
    return Answer(
        http_status=head.status_code,
        body=await _read_body(http, reader),
        retry_after=found.get(b"retry-after", b"").decode("latin-1") or None,
    )


async def _read_head(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    while not isinstance(event := await _next_event(http, reader), h11.Response):
        pass  # 100 Continue and its like
    return event


async def _read_body(http: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    """The beginning of the answer: what comes soon, and is worth keeping.

    That it breaks off, or never ends, takes nothing from the status, which was said.
    """
    body = b""
    with suppress(TimeoutError, OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(BODY_S):
            while len(body) < KEPT_BYTES:
                event = await _next_event(http, reader)
                if not isinstance(event, h11.Data):
                    break
                body += event.data
    return body[:KEPT_BYTES]


async def _next_event(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        data = await reader.read(READ_BYTES)
        if not data and http.their_state is h11.SEND_RESPONSE:
            raise PostFailed("connection_broken", "the connection was closed without an answer")
        http.receive_data(data)
    return event


def _reason(error: Exception) -> str:
    """Why, without addresses: they are nobody's business but the operator's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"[:200]
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the handshake failed")[:200]
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number, type(error).__name__) if number else type(error).__name__

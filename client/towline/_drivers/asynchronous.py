"""Runs flows in an event loop of asyncio; what may block (files) goes to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx

from towline._core.effects import (
    Answer,
    Close,
    Flow,
    Item,
    Items,
    Next,
    Open,
    Opened,
    Payload,
    Request,
    Send,
    Sleep,
    Work,
)
from towline._drivers.steps import DONE, Steps
from towline._drivers.translating import (
    LIMITS,
    headers_of,
    hide_signatures,
    left_of,
    lower,
    out_of_time,
    timeouts_of,
    translated,
)

T = TypeVar("T")


class _Stream:
    """An answer that is being read."""

    def __init__(self, request: Request, response: httpx.Response) -> None:
        self.request = request
        self.response = response
        self.parts = response.aiter_bytes()


class Driver:
    """Has the connections."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        hide_signatures()
        self._client = httpx.AsyncClient(transport=transport, limits=LIMITS, follow_redirects=False)

    async def close(self) -> None:
        """They are closed."""
        await self._client.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """What the flow returns."""
        steps = Steps(flow)
        async with AsyncExitStack() as opened:
            opened.callback(steps.close)
            effect = steps.resume()
            while effect is not DONE:
                effect = await self._step(steps, effect, opened)
        return steps.result

    async def iterate(self, flow: Items[T]) -> AsyncIterator[T]:
        """What the flow gives, piece by piece."""
        steps = Steps(flow)
        async with AsyncExitStack() as opened:
            opened.callback(steps.close)
            effect = steps.resume()
            while effect is not DONE:
                if isinstance(effect, Item):
                    yield effect.value
                    effect = steps.resume()
                else:
                    effect = await self._step(steps, effect, opened)

    async def _step(self, steps: Steps[Any], effect: object, opened: AsyncExitStack) -> object:
        try:
            value = await self._do(effect, opened)
        except Exception as error:  # noqa: BLE001 - the flow decides
            return steps.fail(error)
        return steps.resume(value)

    async def _do(self, effect: object, opened: AsyncExitStack) -> Any:
        match effect:
            case Send(request):
                return await self._send(request)
            case Open(request):
                return await self._open(request, opened)
            case Next(answer):
                return await self._next(answer.handle)
            case Close(answer):
                return await answer.handle.response.aclose()
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Work(function):
                return await asyncio.to_thread(function)
        raise AssertionError(f"no driver knows {effect}")

    async def _send(self, request: Request) -> Answer:
        stream = await self._stream(request)
        try:
            body = bytearray()
            while part := await self._next(stream):
                body += part
        finally:
            await stream.response.aclose()
        return Answer(stream.response.status_code, lower(stream.response.headers), bytes(body))

    async def _open(self, request: Request, opened: AsyncExitStack) -> Opened:
        stream = await self._stream(request)
        opened.push_async_callback(stream.response.aclose)
        return Opened(stream.response.status_code, lower(stream.response.headers), stream)

    async def _stream(self, request: Request) -> _Stream:
        try:
            async with _within(request):
                prepared = self._client.build_request(
                    request.method,
                    request.url,
                    headers=headers_of(request),
                    content=None if request.body is None else _body(request, request.body),
                    timeout=timeouts_of(request),
                )
                return _Stream(request, await self._client.send(prepared, stream=True))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise translated(error) from error
        except TimeoutError as error:
            raise out_of_time() from error

    async def _next(self, stream: _Stream) -> bytes | None:
        try:
            async with _within(stream.request):
                return await anext(stream.parts, None)
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise translated(error) from error
        except TimeoutError as error:
            raise out_of_time() from error


def _within(request: Request) -> asyncio.Timeout:
    left_s = left_of(request)
    return asyncio.timeout(None if left_s == float("inf") else left_s)


async def _body(request: Request, payload: Payload) -> AsyncIterator[bytes]:
    chunks = payload.chunks()
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        left_of(request)
        yield chunk

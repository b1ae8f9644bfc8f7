"""Runs flows in the thread that asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
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
    timeouts_of,
    translated,
)

T = TypeVar("T")


class _Stream:
    """An answer that is being read."""

    def __init__(self, request: Request, response: httpx.Response) -> None:
        self.request = request
        self.response = response
        self.parts = response.iter_bytes()


class Driver:
    """Has the connections."""

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        hide_signatures()
        self._client = httpx.Client(transport=transport, limits=LIMITS, follow_redirects=False)

    def close(self) -> None:
        """They are closed."""
        self._client.close()

    def run(self, flow: Flow[T]) -> T:
        """What the flow returns."""
        steps = Steps(flow)
        with ExitStack() as opened:
            opened.callback(steps.close)
            effect = steps.resume()
            while effect is not DONE:
                effect = self._step(steps, effect, opened)
        return steps.result

    def iterate(self, flow: Items[T]) -> Iterator[T]:
        """What the flow gives, piece by piece."""
        steps = Steps(flow)
        with ExitStack() as opened:
            opened.callback(steps.close)
            effect = steps.resume()
            while effect is not DONE:
                if isinstance(effect, Item):
                    yield effect.value
                    effect = steps.resume()
                else:
                    effect = self._step(steps, effect, opened)

    def _step(self, steps: Steps[Any], effect: object, opened: ExitStack) -> object:
        try:
            value = self._do(effect, opened)
        except Exception as error:  # noqa: BLE001 - the flow decides
            return steps.fail(error)
        return steps.resume(value)

    def _do(self, effect: object, opened: ExitStack) -> Any:
        match effect:
            case Send(request):
                return self._send(request)
            case Open(request):
                return self._open(request, opened)
            case Next(answer):
                return self._next(answer.handle)
            case Close(answer):
                return answer.handle.response.close()
            case Sleep(seconds):
                return time.sleep(seconds)
            case Work(function):
                return function()
        raise AssertionError(f"no driver knows {effect}")

    def _send(self, request: Request) -> Answer:
        stream = self._stream(request)
        try:
            body = bytearray()
            while part := self._next(stream):
                body += part
        finally:
            stream.response.close()
        return Answer(stream.response.status_code, lower(stream.response.headers), bytes(body))

    def _open(self, request: Request, opened: ExitStack) -> Opened:
        stream = self._stream(request)
        opened.callback(stream.response.close)
        return Opened(stream.response.status_code, lower(stream.response.headers), stream)

    def _stream(self, request: Request) -> _Stream:
        try:
            prepared = self._client.build_request(
                request.method,
                request.url,
                headers=headers_of(request),
                content=None if request.body is None else _body(request, request.body),
                timeout=timeouts_of(request),
            )
            return _Stream(request, self._client.send(prepared, stream=True))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise translated(error) from error

    def _next(self, stream: _Stream) -> bytes | None:
        left_of(stream.request)
        try:
            return next(stream.parts, None)
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise translated(error) from error


def _body(request: Request, payload: Payload) -> Iterator[bytes]:
    for chunk in payload.chunks():
        left_of(request)
        yield chunk

"""`AsyncTowline` with the methods of `Towline`, so that one test is of both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

from towline import AsyncTowline

RESOURCES = (
    "images", "jobs", "batches", "webhook_endpoints", "webhook_deliveries", "webhook_secret",
    "engines", "account",
)  # fmt: skip


class Blocking:
    """Runs a loop of its own for as long as a call lasts."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncTowline(*arguments, **options)
        for name in RESOURCES:
            setattr(self, name, _Part(self._loop, getattr(self._client, name)))
        self.download = _Part(self._loop, self._client).download

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._client)

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class _Part:
    def __init__(self, loop: asyncio.AbstractEventLoop, part: Any) -> None:
        self._loop, self._part = loop, part

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made = method(*arguments, **options)
            if inspect.isawaitable(made):
                return self._loop.run_until_complete(_awaited(made))
            return self._iterated(made)

        return call

    def _iterated(self, iterator: AsyncIterator[Any]) -> Iterator[Any]:
        end = object()
        try:
            while (item := self._loop.run_until_complete(_next(iterator, end))) is not end:
                yield item
        finally:
            self._loop.run_until_complete(iterator.aclose())  # type: ignore[attr-defined]


async def _awaited(made: Any) -> Any:
    return await made


async def _next(iterator: AsyncIterator[Any], end: object) -> Any:
    return await anext(iterator, end)

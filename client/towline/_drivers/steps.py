"""A flow, step by step."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, TypeVar, cast

from towline._core.effects import Effect, Item

T = TypeVar("T")
DONE = object()


class Steps(Generic[T]):
    """Tell it what came of each effect; it says the next one, or `DONE`, and then has `result`."""

    def __init__(self, flow: Generator[Effect | Item[Any], Any, T]) -> None:
        self._flow = flow
        self._value: object = None

    @property
    def result(self) -> T:
        return cast("T", self._value)

    def resume(self, value: Any = None) -> Effect | Item[Any] | object:
        """It goes on with what it asked for."""
        try:
            return self._flow.send(value)
        except StopIteration as stop:
            self._value = stop.value
            return DONE

    def fail(self, error: Exception) -> Effect | Item[Any] | object:
        """It goes on with what went wrong; raises that, if the flow has no use for it."""
        try:
            return self._flow.throw(error)
        except StopIteration as stop:
            self._value = stop.value
            return DONE

    def close(self) -> None:
        """Nobody wants the rest."""
        self._flow.close()

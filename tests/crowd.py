"""Many at once: the same call in threads that start together, or in processes that do."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

LIMIT_S = 60.0


def in_threads(call: Callable[..., T], arguments: Iterable[tuple[Any, ...]]) -> list[T]:
    """What each call gave; all begin at the same moment, and the first exception is raised."""
    those = list(arguments)
    start = threading.Barrier(len(those))

    def together(*values: Any) -> T:
        start.wait(LIMIT_S)
        return call(*values)

    with ThreadPoolExecutor(len(those)) as pool:
        futures = [pool.submit(together, *values) for values in those]
        return [future.result(LIMIT_S) for future in futures]


def in_processes(call: Callable[..., T], arguments: Iterable[tuple[Any, ...]]) -> list[T]:
    """As `in_threads`, in fresh processes; `call` is a function of a module."""
    those = list(arguments)
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(len(those))
    with ProcessPoolExecutor(
        len(those), mp_context=spawn, initializer=_take_barrier, initargs=(start,)
    ) as pool:
        futures = [pool.submit(_together, call, values) for values in those]
        return [future.result(LIMIT_S) for future in futures]


_barrier: Any = None


def _take_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _together(call: Callable[..., T], values: tuple[Any, ...]) -> T:
    _barrier.wait(LIMIT_S)
    return call(*values)

"""Celery's threads tell its event loop that they are free."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from worker.threads import WakingTaskPool

LIMIT_S = 10.0


@pytest.fixture
def loop() -> Iterator[Hub]:
    """A real event loop that nobody runs: what it is told waits in it."""
    before, hub = get_event_loop(), Hub()
    set_event_loop(hub)
    yield hub
    hub.close()
    set_event_loop(before)


@pytest.fixture
def pool(loop: Hub) -> Iterator[WakingTaskPool]:
    pool = WakingTaskPool(limit=1)
    pool.on_start()
    yield pool
    pool.on_stop()


def _run(pool: WakingTaskPool, task: Callable[[], None], at_end: Callable[[object], None]) -> None:
    pool.on_apply(task, (), callback=at_end).f.result(LIMIT_S)


@pytest.mark.parametrize("fails", [False, True])
def test_the_loop_is_woken_when_a_task_has_ended_and_celery_has_noted_it(
    pool: WakingTaskPool, loop: Hub, fails: bool
) -> None:
    woken_before: list[int] = []

    def task() -> None:
        if fails:
            raise ValueError("broken")

    def at_end(_: object) -> None:
        woken_before.append(len(loop._ready))

    with suppress(ValueError):
        _run(pool, task, at_end)
    done = threading.Event()
    pool.executor.submit(done.set)  # the one thread has told the loop by then
    assert done.wait(LIMIT_S)
    assert woken_before == ([] if fails else [0])
    assert len(loop._ready) == 1


def test_nothing_is_raised_when_there_is_no_loop_any_more(pool: WakingTaskPool) -> None:
    set_event_loop(None)
    _run(pool, lambda: None, lambda _: None)

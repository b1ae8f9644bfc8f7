"""Batches of edits, with an engine that remembers what it was asked for together."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from shared.errors import DragNotReachable, EngineFailed
from worker.batching import Batched, Limits
from worker.engines.base import (
    Asked,
    Candidate,
    Cost,
    Edit,
    EngineBroken,
    Finish,
    Outcome,
    Prepared,
    Watch,
)

PATIENCE_S = 30.0
MEMORY_PER_ROW = 100


class Stop(Exception):
    """What a watch raises."""


class Listener:
    """A watch that can be told to stop."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def step(self, done: int, steps: int) -> None:
        self.check()

    def check(self) -> None:
        if self.stopped.is_set():
            raise Stop


class Together:
    """Gives the seed back as a picture. The gate, when closed, holds the first batch."""

    name = "together"
    model_digest = "together-1"

    def __init__(self, memory: float = float("inf")) -> None:
        self.batches: list[list[int]] = []
        self.memory = memory
        self.held: list[weakref.ref[object]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def prepare(self, edit: Edit) -> Prepared:
        if edit.options.get("act") == "refuse":
            raise DragNotReachable("too far")
        cost = Cost(edit.candidates, MEMORY_PER_ROW * edit.candidates)
        return Prepared(edit.options.get("group"), cost, (edit, threading.current_thread()))

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        raise AssertionError("a batch asks for all of its edits together")

    def run_together(self, asked: Sequence[Asked]) -> list[Finish | Exception]:
        edits = [prepared.content[0] for prepared, _ in asked]
        self.batches.append([edit.seed for edit in edits])
        self.begun.set()
        assert self.gate.wait(PATIENCE_S)
        assert len({prepared.group for prepared, _ in asked}) == 1
        acts = {edit.options.get("act") for edit in edits}
        if sum(prepared.cost.memory for prepared, _ in asked) > self.memory:
            self.lack(len(asked))
        if "break" in acts:
            raise ZeroDivisionError
        if "lose device" in acts:
            raise EngineBroken
        return [self._made(*each) for each in asked]

    def lack(self, edits: int) -> None:
        """Too little memory, of which this call holds some."""
        assert not any(each() for each in self.held), "what failed before is still held"
        held = np.zeros(edits)
        self.held.append(weakref.ref(held))
        raise MemoryError("too much")

    def _made(self, prepared: Prepared, watch: Watch) -> Finish | Exception:
        edit, thread = prepared.content
        try:
            watch.check()
        except Stop as stop:
            return stop

        def finish() -> Outcome:
            assert threading.current_thread() is thread
            if edit.options.get("act") == "fail late":
                raise LookupError
            return Outcome((Candidate(np.full((1, 1, 3), edit.seed, np.uint8), edit.seed),))

        return finish


def edit(seed: int, candidates: int = 1, **options: object) -> Edit:
    blank = np.zeros((1, 1, 3), np.uint8)
    return Edit(blank, blank[..., 0] == 0, (), seed, candidates, options)


_ALL: list[Batched] = []


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    while _ALL:
        _ALL.pop().close()


def batching(engine: Together, **limits: object) -> Batched:
    """It is closed after the test."""
    batched = Batched(engine, Limits(**{"rows": 4, "wait_s": 0.0, **limits}))  # type: ignore[arg-type]
    _ALL.append(batched)
    return batched


class Crowd:
    """Threads that each run one edit."""

    def __init__(self, engine: Together, pool: ThreadPoolExecutor, **limits: object) -> None:
        self.engine = engine
        self.batched = batching(engine, **limits)
        self.pool = pool

    def run(self, asked: Edit, watch: Watch | None = None) -> Future[Outcome]:
        """Run it in a thread of its own; back once it is in the line."""
        before = self.length
        future = self.pool.submit(self.batched.run, asked, watch or Listener())
        eventually(lambda: self.length > before or future.done() or self.engine.gate.is_set())
        return future

    @property
    def length(self) -> int:
        return len(self.batched._line)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A batch of its own runs until the block ends, and all others wait in the line."""
        self.engine.begun.clear()
        self.engine.gate.clear()
        first = self.pool.submit(self.batched.run, edit(0, group="held"), Listener())
        assert self.engine.begun.wait(PATIENCE_S)
        try:
            yield
        finally:
            self.engine.gate.set()
        first.result(PATIENCE_S)


def eventually(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.001)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as threads:
        yield threads


def seeds(futures: Sequence[Future[Outcome]]) -> list[int]:
    return [future.result(PATIENCE_S).candidates[0].seed for future in futures]


def test_what_is_one_edits_alone_is_done_by_the_thread_that_asked_for_it(
    pool: ThreadPoolExecutor,
) -> None:
    crowd = Crowd(Together(), pool)
    with crowd.held():
        futures = [crowd.run(edit(seed)) for seed in (1, 2, 3)]
        refused = crowd.run(edit(4, act="refuse"))
        with pytest.raises(DragNotReachable):  # while the batch before it still runs
            refused.result(PATIENCE_S)
    assert seeds(futures) == [1, 2, 3]  # each was finished by its own: see `finish`


def test_what_waits_goes_together_and_each_gets_its_own(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool)
    with crowd.held():
        futures = [crowd.run(edit(seed)) for seed in (1, 2, 3)]
    assert seeds(futures) == [1, 2, 3]
    assert crowd.engine.batches[1:] == [[1, 2, 3]]


def test_only_edits_of_one_group_go_together_the_oldest_first(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool)
    with crowd.held():
        futures = [crowd.run(edit(seed, group="ab"[seed % 2])) for seed in (1, 2, 3, 4)]
    assert seeds(futures) == [1, 2, 3, 4]
    assert crowd.engine.batches[1:] == [[1, 3], [2, 4]]


def test_rows_are_limited_and_a_larger_edit_goes_alone(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool, rows=4)
    with crowd.held():
        futures = [crowd.run(edit(seed, rows)) for seed, rows in ((1, 3), (2, 2), (3, 1), (4, 6))]
    assert seeds(futures) == [1, 2, 3, 4]
    assert crowd.engine.batches[1:] == [[1, 3], [2], [4]]


def test_memory_is_limited(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool, memory=2 * MEMORY_PER_ROW)
    with crowd.held():
        futures = [crowd.run(edit(seed)) for seed in (1, 2, 3)]
    seeds(futures)
    assert crowd.engine.batches[1:] == [[1, 2], [3]]


def test_the_first_waits_for_company_but_not_when_the_batch_is_full(
    pool: ThreadPoolExecutor,
) -> None:
    crowd = Crowd(Together(), pool, rows=2, wait_s=PATIENCE_S)
    first = pool.submit(crowd.batched.run, edit(1), Listener())
    eventually(lambda: crowd.length == 1)
    assert not crowd.engine.batches
    second = pool.submit(crowd.batched.run, edit(2), Listener())
    assert seeds([first, second]) == [1, 2]
    assert crowd.engine.batches == [[1, 2]]


def test_one_alone_does_not_wait_longer_than_the_limit(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool, wait_s=0.05)
    assert seeds([pool.submit(crowd.batched.run, edit(1), Listener())]) == [1]


def test_too_little_memory_halves_the_batch_and_is_learnt(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(memory=2 * MEMORY_PER_ROW), pool, rows=8)
    with crowd.held():
        futures = [crowd.run(edit(seed)) for seed in range(1, 9)]
    assert seeds(futures) == list(range(1, 9))
    assert [len(batch) for batch in crowd.engine.batches[1:]] == [8, 4, 2, 2, 4, 2, 2]
    with crowd.held():
        futures = [crowd.run(edit(seed)) for seed in range(1, 9)]
    seeds(futures)
    assert [len(batch) for batch in crowd.engine.batches[9:]] == [2, 2, 2, 2]


def test_an_edit_that_is_too_large_even_alone_fails_and_says_so(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(memory=2 * MEMORY_PER_ROW), pool)
    with crowd.held():
        large, small = crowd.run(edit(1, candidates=3)), crowd.run(edit(2))
    with pytest.raises(EngineFailed, match="fewer candidates"):
        large.result(PATIENCE_S)
    assert seeds([small]) == [2]


def test_one_bad_edit_fails_alone(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool)
    with crowd.held():
        good = [crowd.run(edit(1)), crowd.run(edit(2))]
        refused, broken = crowd.run(edit(3, act="refuse")), crowd.run(edit(4, act="break"))
        late = crowd.run(edit(5, act="fail late"))
    assert seeds(good) == [1, 2]
    assert crowd.engine.batches[1:] == [[1, 2, 4, 5], [1], [2], [4], [5]]
    with pytest.raises(DragNotReachable):
        refused.result(PATIENCE_S)
    with pytest.raises(ZeroDivisionError):
        broken.result(PATIENCE_S)
    with pytest.raises(LookupError):
        late.result(PATIENCE_S)


def test_a_lost_device_is_said_to_all_and_not_tried_again(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool)
    with crowd.held():
        futures = [crowd.run(edit(1)), crowd.run(edit(2, act="lose device"))]
    for future in futures:
        with pytest.raises(EngineBroken):
            future.result(PATIENCE_S)
    assert crowd.engine.batches[1:] == [[1, 2]]


def test_an_edit_that_is_stopped_leaves_the_line(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool)
    listener = Listener()
    with crowd.held():
        stopped, other = crowd.run(edit(1), listener), crowd.run(edit(2))
        listener.stopped.set()
        with pytest.raises(Stop):
            stopped.result(PATIENCE_S)  # while the batch before it still runs
    assert seeds([other]) == [2]
    assert crowd.engine.batches[1:] == [[2]]


def test_an_edit_that_is_stopped_does_not_wait_for_its_batch(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool)
    listener = Listener()
    with crowd.held():
        stopped, other = crowd.run(edit(1), listener), crowd.run(edit(2))
        crowd.engine.begun.clear()
        crowd.engine.gate.set()
        crowd.engine.gate.clear()
        assert crowd.engine.begun.wait(PATIENCE_S)
        listener.stopped.set()
        with pytest.raises(Stop):
            stopped.result(PATIENCE_S)  # while its batch still runs
        assert not other.done()
    assert seeds([other]) == [2]
    assert crowd.engine.batches[1:] == [[1, 2]]


def test_an_engine_that_forgets_an_edit_leaves_nobody_waiting(pool: ThreadPoolExecutor) -> None:
    class Forgetful(Together):
        def run_together(self, asked: Sequence[Asked]) -> list[Finish | Exception]:
            return super().run_together(asked)[1:]

    batched = batching(Forgetful(), rows=1)
    for _ in range(2):  # and the next is served
        with pytest.raises(EngineFailed):
            batched.run(edit(1), Listener())


def test_many_threads_all_get_their_own(pool: ThreadPoolExecutor) -> None:
    batched = batching(Together(), rows=8, wait_s=0.001)
    futures = [
        pool.submit(batched.run, edit(seed % 200, 1 + seed % 3, group=seed % 5), Listener())
        for seed in range(300)
    ]
    assert seeds(futures) == [seed % 200 for seed in range(300)]


def test_what_is_in_the_line_is_run_when_it_is_closed(pool: ThreadPoolExecutor) -> None:
    crowd = Crowd(Together(), pool)
    with crowd.held():
        futures = [crowd.run(edit(1)), crowd.run(edit(2))]
        crowd.batched.close()
    assert seeds(futures) == [1, 2]

"""Edits of many jobs through an engine together, a batch at a time.

    threads of the worker ──prepare──▶ the line ──the oldest and its likes──▶ run_together
              ▲                                                                   │
              └──finish── future: how it is finished, or an error ◀───────────────┘

Engine-agnostic: the engine says which edits may go together and what each costs. While one
batch runs, the other threads fetch, prepare, finish and store; what is ready waits in the line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import structlog

from shared.errors import EngineFailed
from shared.telemetry.metrics import BATCH_ROWS, BATCH_SECONDS
from shared.telemetry.tracing import this_span
from worker.engines.base import (
    Asked,
    BatchingEngine,
    Edit,
    EngineBroken,
    Finish,
    Outcome,
    Prepared,
    Watch,
)

log = structlog.get_logger()

LOOK_S = 0.25  #: how often an edit that waits looks whether it should stop


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a batch may be, and how long the first edit of one waits for company.

    memory: bytes, by the engine's estimate; None: as much as there is. An edit that is
    larger than a limit goes alone.
    """

    rows: int
    wait_s: float
    memory: int | None = None


def _job_of_this_thread() -> str | None:
    """For the log: whose edit it is, of which nothing else is known here."""
    job: str | None = structlog.contextvars.get_contextvars().get("job")
    return job


@dataclass(eq=False, slots=True)
class Waiting:
    """An edit in the line."""

    asked: Asked
    since: float = field(default_factory=time.monotonic)
    batch: dict[str, float] = field(default_factory=dict)  #: which it was run in, for the trace
    job: str | None = field(default_factory=_job_of_this_thread)
    future: Future[Finish] = field(default_factory=Future)

    @property
    def prepared(self) -> Prepared:
        """What the engine made of the edit."""
        return self.asked.prepared


class Batched:
    """A batching engine, as an engine that runs one edit for each of many threads."""

    def __init__(self, engine: BatchingEngine, limits: Limits) -> None:
        self.name = engine.name
        self.model_digest = engine.model_digest
        self._engine = engine
        self._rows = limits.rows
        self._wait_s = limits.wait_s
        self._memory = float("inf") if limits.memory is None else limits.memory
        self._line: list[Waiting] = []
        self._changed = threading.Condition()
        self._is_closed = False
        threading.Thread(target=self._serve, name=f"batches-{engine.name}", daemon=True).start()

    def close(self) -> None:
        """Take no more; what is in the line is still run."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        """Prepare, wait for the batch, finish; raises what the engine or the watch does."""
        waiting = Waiting(Asked(self._engine.prepare(edit), watch))
        with self._changed:
            self._line.append(waiting)
            self._changed.notify_all()
        while not wait([waiting.future], timeout=LOOK_S).done:
            try:
                watch.check()
            except BaseException:
                self._withdraw(waiting)
                raise
        this_span().note(**waiting.batch)
        finish = waiting.future.result()
        return finish()

    def _withdraw(self, waiting: Waiting) -> None:
        """Take it out of the line; a batch that runs hears of it from the watch, and goes on."""
        with self._changed:
            if waiting in self._line:
                self._line.remove(waiting)
                self._changed.notify_all()

    def _serve(self) -> None:
        while batch := self._next_batch():
            try:
                self._run(batch)
            except BaseException:
                log.exception("batch_failed", jobs=_jobs(batch))
            for waiting in batch:  # whatever happened, nobody waits for ever
                if not waiting.future.done():
                    waiting.future.set_exception(EngineFailed("The batch gave no outcome for it."))

    def _next_batch(self) -> list[Waiting]:
        """The oldest edit and those of its group that fit, once there is no use in waiting.

        Empty when closed, and nothing waits any more.
        """
        with self._changed:
            while True:
                batch, is_full = self._likes_of_the_oldest()
                left_s = batch[0].since + self._wait_s - time.monotonic() if batch else None
                if left_s is not None and (is_full or left_s <= 0):
                    self._line = [waiting for waiting in self._line if waiting not in batch]
                    return batch
                if self._is_closed and not batch:
                    return []
                self._changed.wait(left_s)

    def _likes_of_the_oldest(self) -> tuple[list[Waiting], bool]:
        """Those that would go together now, and whether no other could join them."""
        batch: list[Waiting] = []
        is_full = False
        for waiting in self._line:
            is_like = not batch or waiting.prepared.group == batch[0].prepared.group
            if not batch or (is_like and self._fit([*batch, waiting])):
                batch.append(waiting)
            elif is_like:
                is_full = True
        return batch, is_full or _rows(batch) >= self._rows

    def _fit(self, batch: Sequence[Waiting]) -> bool:
        return _rows(batch) <= self._rows and _memory(batch) <= self._memory

    def _run(self, batch: Sequence[Waiting]) -> None:
        """Run a batch; one that fails as a whole is run in parts, so that one edit fails alone."""
        for part in self._tried(batch):
            self._run(part)

    def _tried(self, batch: Sequence[Waiting]) -> list[Sequence[Waiting]]:
        """Run a batch once; the parts to run instead if it failed as a whole.

        They are run by the caller: here the error still holds on to what it passed on its way.
        """
        BATCH_ROWS.labels(self.name).observe(_rows(batch))
        for waiting in batch:
            waiting.batch = _described(batch, waiting)
        try:
            with BATCH_SECONDS.labels(self.name).time():
                made = self._engine.run_together([waiting.asked for waiting in batch])
        except MemoryError as error:
            self._learn(batch, error)
            if len(batch) > 1:
                return [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
            batch[0].future.set_exception(_too_large(batch[0]))
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, EngineBroken):
                log.exception("batch_failed", jobs=_jobs(batch))
                return [[waiting] for waiting in batch]
            for waiting in batch:
                waiting.future.set_exception(error)
        else:
            for waiting, each in zip(batch, made, strict=True):
                if isinstance(each, Exception):
                    waiting.future.set_exception(each)
                else:
                    waiting.future.set_result(each)
        return []

    def _learn(self, batch: Sequence[Waiting], error: MemoryError) -> None:
        """No batch needs more than half of this one from now on, until the process ends."""
        self._memory = min(self._memory, _memory(batch) / 2)
        log.warning(
            "batch_too_large",
            jobs=_jobs(batch),
            rows=_rows(batch),
            memory_limit_mb=round(self._memory / 2**20),
            error=str(error),
        )


def _too_large(waiting: Waiting) -> EngineFailed:
    """The error of an edit that does not even fit alone."""
    rows = waiting.prepared.cost.rows
    advice = "; ask for fewer candidates" if rows > 1 else ""
    return EngineFailed(f"The edit needs more memory than this worker has, even alone{advice}.")


def _described(batch: Sequence[Waiting], waiting: Waiting) -> dict[str, float]:
    waited_ms = round((time.monotonic() - waiting.since) * 1000, 1)
    return {"batch_edits": len(batch), "batch_rows": _rows(batch), "batch_waited_ms": waited_ms}


def _jobs(batch: Sequence[Waiting]) -> list[str | None]:
    return [waiting.job for waiting in batch]


def _rows(batch: Sequence[Waiting]) -> int:
    return sum(waiting.prepared.cost.rows for waiting in batch)


def _memory(batch: Sequence[Waiting]) -> int:
    return sum(waiting.prepared.cost.memory for waiting in batch)

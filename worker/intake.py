"""How work comes into a worker: a place for each job, and a look-out that needs no wake-up.

Redis makes work start at once; it is not what makes it start. Every few seconds a worker with a
free place asks the database itself, so that jobs run while Redis is away, or while a consumer
hangs that should have told of their messages. Whoever works, woken or not, holds one of the places.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from shared.errors import TowlineError
from worker.run_job import run_next_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.run_job import Workplace
    from worker.watch import Drain

log = structlog.get_logger()


class Intake:
    """The places of one process, and when it last asked for work and was answered."""

    def __init__(self, at: Workplace, drain: Drain, places: int) -> None:
        self.places = places
        self._at = at
        self._drain = drain
        self._free = threading.BoundedSemaphore(places)
        self._answered_at = time.monotonic()

    @property
    def silent_s(self) -> float:
        """How long ago it last learnt what there is to do, or had no free place."""
        return time.monotonic() - self._answered_at

    def work(self, engine: str) -> None:
        """Woken: work until nothing is due.

        Messages that are left over from a burst would each cost a claim that finds nothing, and
        make the next job wait behind them, so they go.
        """
        wakeups = self._at.services.wakeups
        with self._free:
            while not self._drain.has_begun:
                found = run_next_job(engine, self._at)
                self._answered()
                if not found and not wakeups.clear(engine):
                    return

    def look(self, engine: str) -> None:
        """Not woken: let as many work as there are jobs and free places."""
        self._at.claims.return_unanswered()
        due = self._at.services.upkeep.due(engine, self.places)
        if due == 0:
            self._answered()
        for _ in range(due):
            threading.Thread(
                target=self._work_unwoken, args=(engine,), name="unwoken", daemon=True
            ).start()

    def _work_unwoken(self, engine: str) -> None:
        with self._place_if_free() as has_place:
            if not has_place:
                self._answered()  # full: there is nothing it could ask for
                return
            try:
                while not self._drain.has_begun:
                    found = run_next_job(engine, self._at)
                    self._answered()
                    if not found:
                        return
            except TowlineError as error:
                log.warning("look_failed", engine=engine, error=error.message)

    def wait_until_empty(self) -> None:
        """Until nobody works any more; nobody begins again."""
        for _ in range(self.places):
            self._free.acquire()

    def _answered(self) -> None:
        self._answered_at = time.monotonic()

    @contextmanager
    def _place_if_free(self) -> Iterator[bool]:
        has_place = self._free.acquire(blocking=False)
        try:
            yield has_place
        finally:
            if has_place:
                self._free.release()

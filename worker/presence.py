"""Tells the others that this worker is up, which engines it runs, and with which model."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Self

import structlog

from shared.errors import TowlineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.run_job import Workplace

log = structlog.get_logger()


class Presence:
    """While the block runs, this worker's engines are in the table of those that are up."""

    def __init__(self, workplace: Workplace, threads: int, *, every_s: float) -> None:
        self._at = workplace
        self._threads = threads
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="presence", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=self._every_s)
        up = self._at.services.engines_up
        for name in self._at.engines:
            _try(partial(up.gone, self._row_id(name)))

    def _tell(self) -> None:
        up = self._at.services.engines_up
        while True:
            for name, engine in self._at.engines.items():
                row = (self._row_id(name), name, engine.model_digest, self._threads)
                _try(partial(up.seen, *row))
            if self._over.wait(self._every_s):
                return

    def _row_id(self, engine: str) -> str:
        return f"{self._at.claims.worker_id}/{engine}"


def _try(call: Callable[[], None]) -> None:
    try:
        call()
    except TowlineError as error:
        log.warning("presence_not_told", error=error.message)

"""What a worker does by itself, every few seconds, so that a lost message costs seconds at most.

It looks for work of its engines, for batches that want something and for webhooks that are due,
and sweeps when nobody asked it to for a while: beat is down, or Redis is, or its consumer hangs.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

import structlog

from shared.errors import TowlineError
from worker.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.services import Services
    from worker.batches import Tender
    from worker.deliver import Deliverer
    from worker.intake import Intake
    from worker.watch import Drain

log = structlog.get_logger()

SWEEPS_MISSED = 3  #: then the sweep is made without being asked for


class Broom:
    """The sweep, asked for or not."""

    def __init__(self, services: Services, drain: Drain, *, every_s: float) -> None:
        self._services = services
        self._drain = drain
        self._patience_s = SWEEPS_MISSED * every_s
        self._asked_at = time.monotonic()

    def sweep(self) -> None:
        """Asked for: sweep; no further step once the process drains."""
        self._asked_at = time.monotonic()
        sweep(self._services, lambda: self._drain.has_begun)

    def sweep_unless_asked(self) -> None:
        """Sweep if nobody has asked for it lately; several processes may do so at once."""
        if time.monotonic() - self._asked_at >= self._patience_s:
            log.info("sweep_unasked")
            self._asked_at = time.monotonic()
            # Not in the caller's: a slow storage must not keep it from looking out
            threading.Thread(target=self.sweep, name="sweep", daemon=True).start()


class Lookout:
    """While the block runs, this process looks out for what nobody told it."""

    def __init__(
        self,
        intake: Intake,
        engines: Iterable[str],
        broom: Broom | None,
        tender: Tender | None,
        deliverer: Deliverer | None,
        *,
        every_s: float,
    ) -> None:
        self._intake = intake
        self._engines = tuple(engines)
        self._broom = broom
        self._tender = tender
        self._deliverer = deliverer
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lookout", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._look()
            except TowlineError as error:
                log.warning("look_failed", error=error.message)
            except Exception:  # the thread must go on: it is what notices that nothing else does
                log.exception("look_failed")

    def _look(self) -> None:
        for engine in self._engines:
            self._intake.look(engine)
        if self._broom is not None:
            self._broom.sweep_unless_asked()
        if self._tender is not None:
            self._tender.look()
        if self._deliverer is not None:
            self._deliverer.look()

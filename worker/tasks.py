"""What Celery calls. A message carries no data that matters: it may come twice, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from shared.errors import TowlineError
from shared.queue import RUN_JOBS, SWEEP

if TYPE_CHECKING:
    from celery import Celery

    from worker.intake import Intake
    from worker.lookout import Broom

log = structlog.get_logger()


def register_tasks(app: Celery, intake: Intake, broom: Broom) -> None:
    """Make the tasks known to the app of this process."""

    @app.task(name=RUN_JOBS)  # type: ignore[untyped-decorator]
    def run_jobs(engine: str) -> None:
        """Work until nothing is due: one wake-up is enough for a full queue."""
        try:
            intake.work(engine)
        except TowlineError as error:  # a server is away: the sweep wakes somebody up again
            log.warning("wakeup_dropped", engine=engine, error=error.message)

    @app.task(name=SWEEP)  # type: ignore[untyped-decorator]
    def run_sweep() -> None:
        """Put right what died half-way."""
        broom.sweep()

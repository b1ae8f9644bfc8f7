"""What Celery calls. A message carries no data that matters: it may come twice, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from shared.errors import TowlineError
from shared.queue import DELIVER, RUN_JOBS, SWEEP, TEND

if TYPE_CHECKING:
    from celery import Celery

    from worker.batches import Tender
    from worker.deliver import Deliverer
    from worker.intake import Intake
    from worker.lookout import Broom

log = structlog.get_logger()


def register_tasks(
    app: Celery,
    intake: Intake,
    broom: Broom,
    tender: Tender,
    deliverer: Deliverer | None = None,
) -> None:
    """Make the tasks known to the app of this process; `deliverer` if it sends webhooks."""

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

    @app.task(name=TEND)  # type: ignore[untyped-decorator]
    def tend_batches() -> None:
        """Tend batches: one message is enough for all of them."""
        try:
            tender.tend()
        except TowlineError as error:  # the database is away: the sweep wakes somebody up again
            log.warning("batches_not_tended", error=error.message)

    if deliverer is not None:

        @app.task(name=DELIVER)  # type: ignore[untyped-decorator]
        def deliver() -> None:
            """Send what is due: one message is enough for all of it."""
            deliverer.deliver()

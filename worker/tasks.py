"""What Celery calls. A message carries no data that matters: it may come twice, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from shared.errors import TowlineError
from shared.queue import DELIVER, RUN_JOBS, SWEEP
from worker.run_job import Workplace, run_next_job
from worker.sweep import sweep

if TYPE_CHECKING:
    from celery import Celery

    from worker.deliver import Deliverer
    from worker.watch import Drain

log = structlog.get_logger()


def register_tasks(
    app: Celery, at: Workplace, drain: Drain, deliverer: Deliverer | None = None
) -> None:
    """Make the tasks known to the app of this process; `deliverer` if it sends webhooks."""

    @app.task(name=RUN_JOBS)  # type: ignore[untyped-decorator]
    def run_jobs(engine: str) -> None:
        """Work until nothing is due: one wake-up is enough for a full queue.

        Celery's threads take messages at leisure, two in a second; those that are left over
        from a burst would make the next job wait behind them, so they go.
        """
        try:
            while not drain.has_begun:
                if not run_next_job(engine, at) and not at.services.wakeups.clear(engine):
                    break
        except TowlineError as error:  # a server is away: the sweep wakes somebody up again
            log.warning("wakeup_dropped", engine=engine, error=error.message)

    @app.task(name=SWEEP)  # type: ignore[untyped-decorator]
    def run_sweep() -> None:
        sweep(at.services)

    if deliverer is not None:

        @app.task(name=DELIVER)  # type: ignore[untyped-decorator]
        def deliver() -> None:
            deliverer.deliver()

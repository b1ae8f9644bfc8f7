"""Writes the outcome of a run down, however often the database must be asked.

While the database is away it is asked again, after 0.1, 0.2, ... 2 s less a random part, for as
long as the lease lasts; then the job is lost to this attempt, and what is written says so. Every
write may be repeated: it changes a job that this attempt holds, or nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec

import structlog

from shared.errors import DatabaseUnavailable
from shared.telemetry.tracing import span

if TYPE_CHECKING:
    from worker.watch import Lease

P = ParamSpec("P")
log = structlog.get_logger()

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


def write_down(lease: Lease, write: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
    """What `write` answers; `DatabaseUnavailable` once the lease is over as well."""
    with span("finish", outcome=write.__name__):
        return _written(lease, write, *args, **kwargs)


def _written(lease: Lease, write: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return write(*args, **kwargs)
        except DatabaseUnavailable as error:
            if lease.left_s <= 0:
                raise
            log.warning("outcome_waits", outcome=write.__name__, error=error.message)
        time.sleep(min(pause_s * random.uniform(0.5, 1), max(lease.left_s, 0)))  # noqa: S311
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

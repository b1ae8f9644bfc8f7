"""How a worker asks for work: under a name of its own each time.

A claim may come through though its answer is lost with the connection: the job is this worker's,
and nobody here knows. Its lease would bring it back, late, and as a loss. So the names of claims
without an answer are kept, and once the database answers again their jobs go back to the queue.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING

import structlog

from shared.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from shared.jobs.job import Job
    from shared.jobs.leases import LeaseStore

log = structlog.get_logger()

KEPT = 200  #: names; those before are left to their leases


class Claims:
    """The claims of one process, by any of its threads."""

    def __init__(self, leases: LeaseStore, worker_id: str) -> None:
        self.worker_id = worker_id
        self._leases = leases
        self._numbers = itertools.count(1)
        self._unanswered: deque[str] = deque(maxlen=KEPT)
        self._returning = threading.Lock()

    def next(self, engine: str) -> Job | None:
        """The next job of an engine; `DatabaseUnavailable`."""
        self.return_unanswered()
        name = f"{self.worker_id}.{next(self._numbers)}"
        try:
            return self._leases.claim_next(engine, name)
        except DatabaseUnavailable:
            self._unanswered.append(name)
            raise

    def return_unanswered(self) -> None:
        """Put back what was claimed without an answer; `DatabaseUnavailable`.

        A claim that reaches its commit even later than this is left to its lease.
        """
        if not self._unanswered:
            return
        with self._returning:
            names = list(self._unanswered)
            for job in self._leases.give_back_of(names):
                log.warning("claim_given_back", job=job.id, attempt=job.attempt)
            for name in names:
                self._unanswered.remove(name)

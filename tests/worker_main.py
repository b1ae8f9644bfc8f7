"""`python -m tests.worker_main run --queues warp [--at WHEN --do WHAT]`: a worker for tests.

A real worker process with an engine for tests, that dies or freezes at one of the moments
between two steps of a job that nothing outside could hit.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from dataclasses import replace
from typing import Any

from shared.jobs.job import Job
from shared.jobs.leases import LeaseStore, Pulse
from shared.services import Services
from tests.engines import ActingEngine, freeze
from worker.__main__ import _services
from worker.app import run_worker

DEEDS = {
    "die": lambda: os._exit(9),
    "freeze": freeze,
}


class EventfulLeases(LeaseStore):
    """The real store; `deed` is done at one moment."""

    def __init__(self, services: Services, moment: str, deed: str) -> None:
        settings = services.settings
        super().__init__(
            services.database,
            lease_s=settings.lease_s,
            result_retention_days=settings.result_retention_days,
        )
        self._moment, self._deed = moment, DEEDS[deed]
        self._quiet = threading.Lock()  # frozen in a write, it would keep all out of SQLite

    def claim_next(self, engine: str, worker_id: str) -> Job | None:
        job = super().claim_next(engine, worker_id)
        if job is not None:
            self._now("claimed")
        return job

    def heartbeat(self, job: Job, step: int, steps: int | None) -> Pulse:
        with self._quiet:
            return super().heartbeat(job, step, steps)

    def succeed(self, job: Job, result: dict[str, Any], steps: int | None = None) -> bool:
        self._now("stored")
        did = super().succeed(job, result, steps)
        self._now("recorded")
        return did

    def _now(self, moment: str) -> None:
        if moment == self._moment:
            with self._quiet:
                self._deed()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--queues", required=True)
    parser.add_argument("--at", choices=["never", "claimed", "stored", "recorded"], default="never")
    parser.add_argument("--do", choices=DEEDS, default="die")
    chosen = parser.parse_args()
    services = _services()
    services = replace(services, leases=EventfulLeases(services, chosen.at, chosen.do))
    return run_worker(services, chosen.queues.split(","), ActingEngine)


if __name__ == "__main__":
    sys.exit(main())

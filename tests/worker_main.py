"""`python -m tests.worker_main run --queues warp [--at WHEN --do WHAT]`: a worker for tests.

A real worker process with an engine for tests, that dies or freezes at one of the moments
between two steps of a job that nothing outside could hit.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shared.jobs.job import Job
from shared.jobs.leases import LeaseStore, Pulse
from shared.services import Services
from shared.webhooks.dispatch import Claim, Dispatch, Outcome, Room
from shared.webhooks.sealing import Sealer
from tests.engines import ActingEngine, freeze
from worker.__main__ import _role, _services
from worker.app import run_worker

DEEDS = {
    "die": lambda: os._exit(9),
    "freeze": freeze,
}


class EventfulDispatch(Dispatch):
    """The real store of webhooks; `deed` is done at one moment."""

    def __init__(self, services: Services, moment: str, deed: str) -> None:
        settings = services.settings
        super().__init__(
            services.database,
            Sealer(settings.secret_key.get_secret_value()),
            timeout_s=settings.webhook_timeout_s,
            time_scale=settings.webhook_time_scale,
        )
        self._moment, self._deed = moment, DEEDS[deed]

    def claim(self, after: str, room: Room, limit: int) -> tuple[list[Claim], str]:
        claims, end = super().claim(after, room, limit)
        if claims and self._moment == "delivery claimed":
            self._deed()
        return claims, end

    def record(self, outcomes: Sequence[Outcome]) -> None:
        if self._moment == "delivery posted":
            self._deed()
        super().record(outcomes)
        if self._moment == "delivery recorded":
            self._deed()


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
    parser.add_argument("--at", default="never")  # one of the moments above
    parser.add_argument("--do", choices=DEEDS, default="die")
    chosen = parser.parse_args()
    queues = chosen.queues.split(",")
    services = _services(_role(queues))
    dispatch = EventfulDispatch(services, chosen.at, chosen.do)
    services = replace(
        services,
        leases=EventfulLeases(services, chosen.at, chosen.do),
        webhooks=replace(services.webhooks, dispatch=dispatch),
    )
    return run_worker(services, queues, ActingEngine)


if __name__ == "__main__":
    sys.exit(main())

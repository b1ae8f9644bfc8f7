"""A job whose account is deleted while it runs: it ends, leaves nothing, and nobody minds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from shared.jobs.job import Job
from shared.services import Services
from tests.engines import ActingEngine
from tests.factories import Factory, rows_that_name
from worker.claims import Claims
from worker.engines.base import Edit, Outcome, Watch
from worker.run_job import Workplace, run_next_job
from worker.solo import Solo
from worker.watch import Drain, Heart

LIMIT_S = 20.0


class DeletingEngine(ActingEngine):
    """Deletes the account of the job that it runs; then ends, or goes on until it is stopped."""

    def __init__(self, services: Services, job: Job, *, goes_on: bool) -> None:
        super().__init__()
        self._services, self._job, self._goes_on = services, job, goes_on

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        account = self._services.accounts.get(self._job.account_id)
        self._services.account_deletion.delete(account.name)
        until_s = time.monotonic() + LIMIT_S
        while self._goes_on and time.monotonic() < until_s:
            watch.step(0, 1)
            time.sleep(0.01)
        return super().run(edit, watch)


@pytest.mark.parametrize("goes_on", [True, False], ids=["in its midst", "at its end"])
def test_a_run_leaves_nothing_and_no_error_when_its_account_goes(
    build: Callable[..., Services], goes_on: bool
) -> None:
    services = build(heartbeat_s=0.05)
    job = Factory(services).job(is_stored=True)
    engine = DeletingEngine(services, job, goes_on=goes_on)
    heart = Heart(services.leases, Drain(), lease_s=600, heartbeat_s=0.05)
    at = Workplace(services, {"warp": engine}, heart, Solo(), Claims(services.leases, "worker-1"))
    with structlog.testing.capture_logs() as logged:
        assert run_next_job("warp", at) is True
    said: list[Any] = [entry["event"] for entry in logged if entry["log_level"] != "info"]
    assert said in ([[]] if goes_on else [[], ["lease_lost"]]), "it depends on the last heartbeat"
    assert list(rows_that_name(services.database, job.account_id)) == ["deleted_accounts"]
    for prefix in ("images", "results", "staging"):
        assert services.objects.walk(f"{prefix}/{job.account_id}/", "", 10) == []
    assert run_next_job("warp", at) is False

"""Real workers, beat and a real broker: what is lost comes back, and what should stop stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.jobs.job import Job
from shared.jobs.state import JobState
from tests.broker import Valkey
from tests.crew import Crew, wait_until
from tests.factories import Factory, history

pytestmark = pytest.mark.slow


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    return start_crew(lease_s=20, heartbeat_s=0.2, sweep_s=0.3, drain_s=0.3)


def _submit(crew: Crew, *, timeout_s: int = 300, **options: str) -> Job:
    job = Factory(crew.services).job(is_stored=True, timeout_s=timeout_s, options=options)
    crew.services.wakeups.send("warp")
    return job


def _long(crew: Crew, mark: Path, **spec: int) -> Job:
    """A job that runs, and goes on until the mark is there."""
    job = _submit(crew, act="wait_for_mark", mark=str(mark), **spec)
    wait_until(Path(f"{mark}.started").exists, said=crew.said())
    return job


def test_jobs_are_woken_by_the_sweep_when_the_broker_forgot_them_or_was_away(
    crew: Crew, broker: Valkey
) -> None:
    waiting = [_submit(crew) for _ in range(3)]
    broker.flush()
    crew.worker(queues="warp,maintenance")
    crew.start("worker", "beat")
    for job in waiting:
        assert crew.wait_for_end(job).status is JobState.SUCCEEDED
    broker.kill()
    begun_s = time.monotonic()
    while_away = _submit(crew)
    assert time.monotonic() - begun_s < 2
    broker.start()
    assert crew.wait_for_end(while_away).status is JobState.SUCCEEDED
    broker.kill()
    broker.start()
    after = [_submit(crew) for _ in range(3)]
    for job in after:
        assert crew.wait_for_end(job).status is JobState.SUCCEEDED
    for job in [*waiting, while_away, *after]:
        assert history(crew.services.database, job.id) == ["queued", "running", "succeeded"]
    assert all(member.process.poll() is None for member in crew.members)


def test_a_job_is_finished_by_its_worker_when_the_broker_dies_under_it(
    crew: Crew, broker: Valkey, tmp_path: Path
) -> None:
    worker = crew.worker()
    job = _long(crew, tmp_path / "go")
    broker.kill()
    wait_until(lambda: "connection" in worker.log.read_text().lower())
    (tmp_path / "go").touch()
    assert crew.wait_for_end(job).status is JobState.SUCCEEDED
    broker.start()
    crew.services.wakeups.send("warp")
    after = _submit(crew)
    wait_until(lambda: crew.services.wakeups.send("warp") or crew.wait_for_end(after))
    assert worker.process.poll() is None


def test_a_job_goes_back_without_a_loss_when_its_worker_is_told_to_end(
    crew: Crew, tmp_path: Path
) -> None:
    worker = crew.worker()
    job = _long(crew, tmp_path / "go")
    begun_s = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait_for_death(10) == 0, worker.log.read_text()
    assert time.monotonic() - begun_s >= 0.3  # the grace
    back = crew.services.jobs.get(job.account_id, job.id)
    assert (back.status, back.attempt, back.losses) == (JobState.QUEUED, 1, 0)
    assert crew.services.engines_up.all() == {}
    (tmp_path / "go").touch()
    crew.services.wakeups.send("warp")
    crew.worker()
    assert crew.wait_for_end(job).status is JobState.SUCCEEDED
    assert history(crew.services.database, job.id) == [*["queued", "running"] * 2, "succeeded"]


def test_a_running_job_stops_when_its_owner_asks_or_its_time_is_over(
    crew: Crew, tmp_path: Path
) -> None:
    worker = crew.worker()
    unwanted = _long(crew, tmp_path / "never")
    slow = _long(crew, tmp_path / "neither", timeout_s=1)
    crew.services.jobs.cancel(unwanted.account_id, unwanted.id)
    assert crew.wait_for_end(unwanted, 10).status is JobState.CANCELED
    ended = crew.wait_for_end(slow, 10)
    assert ended.status is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "timeout"
    assert {event["reason"] for event in worker.events("job_stopped")} == {
        "CancelAsked", "DeadlinePassed"
    }  # fmt: skip
    assert crew.stored(unwanted) == crew.stored(slow) == []


def test_each_job_succeeds_once_when_many_go_through_two_workers(crew: Crew) -> None:
    make = Factory(crew.services)
    accounts = [make.account() for _ in range(3)]
    images = {account: make.image(account, is_stored=True).id for account in accounts}
    jobs = [make.job(accounts[n % 3], image=images[accounts[n % 3]]) for n in range(60)]
    for _ in range(2):
        crew.worker()
    wait_until(lambda: len(crew.services.engines_up.all()) == 1)
    crew.services.wakeups.top_up("warp", len(jobs))
    for job in jobs:
        assert crew.wait_for_end(job).status is JobState.SUCCEEDED
        assert history(crew.services.database, job.id) == ["queued", "running", "succeeded"]
        assert len(crew.stored(job)) == 2


def test_a_real_edit_comes_out_of_a_real_worker_with_short_leases_when_one_is_killed(
    start_crew: Callable[..., Crew], tmp_path: Path
) -> None:
    crew = start_crew(lease_s=2, heartbeat_s=0.3, sweep_s=0.3)
    crew.start("worker", "run", "--queues", "maintenance")
    crew.start("worker", "beat")
    victim = crew.worker()
    job = _long(crew, tmp_path / "go")
    victim.signal(signal.SIGKILL)
    (tmp_path / "go").touch()
    crew.start("worker", "run", "--queues", "warp")
    ended = crew.wait_for_end(job)
    assert ended.status is JobState.SUCCEEDED, ended.error
    assert ended.losses >= 1
    assert ended.result is not None
    assert ended.result["model_digest"].startswith("warp")

"""A worker that is told to end: running jobs go on for a while, then go back, none is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.jobs.job import Job
from shared.jobs.state import JobState
from tests.broker import free_port
from tests.crew import Crew, Member, wait_until
from tests.factories import Factory

pytestmark = [
    pytest.mark.slow,
    # How a process ends has nothing to do with the kind of database.
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

LONG_S = 60.0
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


def busy(crew: Crew, mark: Path, act: str = "wait_for_mark") -> tuple[Member, Job]:
    """A worker in the middle of a job."""
    worker = crew.worker()
    worker.wait_for_ready()
    job = Factory(crew.services).job(is_stored=True, options={"act": act, "mark": str(mark)})
    crew.services.wakeups.send("warp")
    wait_until(Path(f"{mark}.started").exists, said=crew.said())
    return worker, job


def now(crew: Crew, job: Job) -> Job:
    return crew.services.jobs.get(job.account_id, job.id)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_running_job_may_end_first(
    start_crew: Callable[..., Crew], mark: Path, number: int
) -> None:
    crew = start_crew(drain_s=LONG_S, heartbeat_s=0.2)
    worker, job = busy(crew, mark)
    worker.signal(number)
    time.sleep(0.5)
    assert now(crew, job).status is JobState.RUNNING
    mark.touch()
    assert worker.wait_for_death() == 0
    assert now(crew, job).status is JobState.SUCCEEDED


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_gives_the_job_back_at_once(
    start_crew: Callable[..., Crew], mark: Path, second: int
) -> None:
    crew = start_crew(drain_s=LONG_S, heartbeat_s=0.2)
    worker, job = busy(crew, mark)
    worker.signal(signal.SIGTERM)
    time.sleep(0.5)
    worker.signal(second)
    assert worker.wait_for_death(10) == 0
    back = now(crew, job)
    assert (back.status, back.losses) == (JobState.QUEUED, 0)
    mark.touch()
    crew.services.wakeups.send("warp")
    crew.worker()
    assert crew.wait_for_end(job).attempt == 2


def test_the_job_is_given_back_when_a_worker_that_never_reached_redis_is_interrupted_twice(
    start_crew: Callable[..., Crew], mark: Path
) -> None:
    crew = start_crew(drain_s=LONG_S, heartbeat_s=0.2, sweep_s=0.2)
    crew.redis_url = f"redis://127.0.0.1:{free_port()}/0"
    worker = crew.worker()
    options = {"act": "wait_for_mark", "mark": str(mark)}
    job = Factory(crew.services).job(is_stored=True, options=options)
    wait_until(Path(f"{mark}.started").exists, said=crew.said())
    worker.signal(signal.SIGINT)
    time.sleep(0.5)
    assert now(crew, job).status is JobState.RUNNING
    worker.signal(signal.SIGINT)
    assert worker.wait_for_death(15) == 0
    back = now(crew, job)
    assert (back.status, back.losses) == (JobState.QUEUED, 0)


def test_a_process_whose_engine_hangs_ends_all_the_same(
    start_crew: Callable[..., Crew], mark: Path
) -> None:
    crew = start_crew(drain_s=0.2, heartbeat_s=0.2)
    worker, job = busy(crew, mark, act="hang")
    worker.signal(signal.SIGTERM)
    assert worker.wait_for_death(15) == 1
    back = now(crew, job)
    assert (back.status, back.losses) == (JobState.QUEUED, 0)

"""A worker dies, or sleeps, between any two steps of a job: the job still ends once.

Each window of `docs/architecture/` has its test here, with real worker processes. Time is
let pass in the database rather than waited for.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.imaging import decode
from shared.jobs.job import Job
from shared.jobs.state import JobState
from tests.crew import Crew, wait_until
from tests.factories import Factory, history, let_pass
from worker.run_job import BROKEN
from worker.sweep import sweep

pytestmark = pytest.mark.slow

LEASE_S = 30
DAY_S = 86_400


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    return start_crew(lease_s=LEASE_S, heartbeat_s=0.2, worker_threads=1)


def _submit(crew: Crew, **options: str) -> Job:
    job = Factory(crew.services).job(is_stored=True, timeout_s=DAY_S, options=options)
    crew.services.wakeups.send("warp")
    return job


def _lose_the_lease(crew: Crew) -> None:
    let_pass(crew.services.database, LEASE_S + 1)
    sweep(crew.services)


def _assert_ended_once(crew: Crew, job: Job, attempts: int) -> None:
    states = history(crew.services.database, job.id)
    assert states == ["queued", "running"] * attempts + ["succeeded"]
    ended = crew.services.jobs.get(job.account_id, job.id)
    assert ended.result is not None
    assert (ended.attempt, ended.losses) == (attempts, attempts - 1)
    keys = [candidate["key"] for candidate in ended.result["candidates"]]
    keys.append(ended.result["mask_key"])
    assert all(f"/{job.id}/{attempts}/" in key for key in keys)
    assert set(keys) <= set(crew.stored(job))
    assert decode(crew.services.objects.get(keys[0])).width == 64


def _assert_nothing_outlives_the_job(crew: Crew, job: Job) -> None:
    let_pass(crew.services.database, 31 * DAY_S)
    sweep(crew.services)
    assert crew.stored(job) == []


@pytest.mark.parametrize("moment", ["claimed", "stored"])
def test_a_job_ends_once_when_its_worker_dies_beside_the_engine(crew: Crew, moment: str) -> None:
    job = _submit(crew)
    assert crew.worker("--at", moment).wait_for_death() == 9
    assert crew.services.jobs.get(job.account_id, job.id).status is JobState.RUNNING
    _lose_the_lease(crew)
    crew.worker()
    crew.wait_for_end(job)
    _assert_ended_once(crew, job, attempts=2)
    _assert_nothing_outlives_the_job(crew, job)


def test_a_worker_whose_device_is_lost_ends_and_its_job_goes_to_another(
    crew: Crew, tmp_path: Path
) -> None:
    job = _submit(crew, act="lose_device_once", mark=str(tmp_path / "mark"))
    assert crew.worker().wait_for_death() == BROKEN
    _lose_the_lease(crew)
    crew.worker()
    crew.wait_for_end(job)
    _assert_ended_once(crew, job, attempts=2)


def test_a_job_ends_once_when_its_worker_dies_in_the_engine(crew: Crew, tmp_path: Path) -> None:
    job = _submit(crew, act="die_once", mark=str(tmp_path / "mark"))
    assert crew.worker().wait_for_death() == 9
    _lose_the_lease(crew)
    crew.worker()
    crew.wait_for_end(job)
    _assert_ended_once(crew, job, attempts=2)


def test_a_job_has_ended_when_its_worker_dies_after_the_row(crew: Crew) -> None:
    job = _submit(crew)
    assert crew.worker("--at", "recorded").wait_for_death() == 9
    _assert_ended_once(crew, job, attempts=1)
    _lose_the_lease(crew)
    for _ in range(3):  # as if the message came again
        crew.services.wakeups.send("warp")
    crew.worker()
    wait_until(lambda: crew.services.wakeups.waiting("warp") == 0)
    other = _submit(crew)
    crew.wait_for_end(other)
    _assert_ended_once(crew, job, attempts=1)


@pytest.fixture
def calm_crew(start_crew: Callable[..., Crew]) -> Crew:
    """Writes so seldom that none is frozen in a write: on SQLite it would keep all others out."""
    return start_crew(lease_s=LEASE_S, heartbeat_s=10, worker_threads=1)


def test_an_old_attempt_changes_nothing_when_it_wakes_up_in_the_engine(
    calm_crew: Crew, tmp_path: Path
) -> None:
    crew = calm_crew
    sleeper = crew.worker()
    wait_until(crew.services.engines_up.all)
    job = _submit(crew, act="freeze_once", mark=str(tmp_path / "mark"))
    wait_until(sleeper.is_frozen)
    _lose_the_lease(crew)
    crew.worker()
    crew.wait_for_end(job)
    stored = crew.stored(job)
    sleeper.signal(signal.SIGCONT)
    wait_until(lambda: sleeper.events("lease_lost") or sleeper.events("job_stopped"))
    sleeper.signal(signal.SIGTERM)
    assert sleeper.wait_for_death() == 0
    _assert_ended_once(crew, job, attempts=2)
    assert crew.stored(job) == stored


def test_an_old_attempt_takes_its_pictures_away_when_it_wakes_up_after_storing_them(
    calm_crew: Crew,
) -> None:
    crew = calm_crew
    sleeper = crew.worker("--at", "stored", "--do", "freeze")
    wait_until(crew.services.engines_up.all)
    job = _submit(crew)
    wait_until(sleeper.is_frozen)
    assert len(crew.stored(job)) == 2  # the picture and its mask
    _lose_the_lease(crew)
    crew.worker()
    crew.wait_for_end(job)
    assert len(crew.stored(job)) == 4
    sleeper.signal(signal.SIGCONT)
    sleeper.wait_for_event("lease_lost")
    wait_until(lambda: len(crew.stored(job)) == 2)
    _assert_ended_once(crew, job, attempts=2)


def test_a_poison_job_is_quarantined_and_takes_no_other_with_it_twice(
    crew: Crew, tmp_path: Path, start_crew: Callable[..., Crew]
) -> None:
    crew = start_crew(lease_s=LEASE_S, heartbeat_s=0.2, worker_threads=3)
    make = Factory(crew.services)
    account = make.account()
    image = make.image(account, is_stored=True).id
    go = tmp_path / "go"
    given = {"image": image, "timeout_s": DAY_S}
    die = {"act": "die_always", "mark": str(tmp_path / "poison")}
    poison = make.job(account, options=die, **given)
    wait = {"act": "wait_for_mark", "mark": str(go)}
    others = [make.job(account, options=wait, **given) for _ in range(4)]
    for losses in (1, 2, 3):
        crew.services.wakeups.top_up("warp", 5)
        assert crew.worker().wait_for_death() == 9
        _lose_the_lease(crew)
        assert crew.services.jobs.get(account, poison.id).losses == losses
        assert all(crew.services.jobs.get(account, job.id).losses <= 1 for job in others)
    ended = crew.services.jobs.get(account, poison.id)
    assert ended.status is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "worker_lost"
    go.touch()
    crew.services.wakeups.top_up("warp", 5)
    crew.worker()
    assert {crew.wait_for_end(job).status for job in others} == {JobState.SUCCEEDED}

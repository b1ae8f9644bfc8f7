"""Who runs beside whom: never anything beside a suspect, nor claimed while one is here."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from shared.jobs.job import Job
from shared.jobs.state import JobState
from tests.crowd import in_threads
from tests.factories import a_spec
from worker.solo import Solo

LIMIT_S = 10.0


def a_job(losses: int = 0) -> Job:
    times = dict.fromkeys(
        ("cancel_requested_at", "started_at", "claimed_at", "deadline_at", "finished_at",
         "expires_at", "retain_until", "pictures_gone_at", "forecast_at")
    )  # fmt: skip
    return Job(
        id="job_1", account_id="acc_1", status=JobState.RUNNING, spec=a_spec(), metadata={},
        attempt=1 + losses, losses=losses, retries=0, step=0, steps=None, result=None, error=None,
        retried_from=None, created_at=0, **times,
    )  # fmt: skip


class Worker(threading.Thread):
    """Claims one job, waits for room, and stays until it may go."""

    def __init__(self, solo: Solo, job: Job | None) -> None:
        super().__init__(daemon=True)
        self._solo, self._job = solo, job
        self.claimed, self.runs, self.may_go = (threading.Event() for _ in range(3))
        self.start()

    def run(self) -> None:
        with self._solo.claimed(self._claim) as job:
            if job is not None:
                self._solo.wait_for_room(job, lambda: None)
                self.runs.set()
                self.may_go.wait(LIMIT_S)

    def _claim(self) -> Job | None:
        self.claimed.set()
        return self._job


def test_jobs_run_side_by_side_when_none_is_suspected() -> None:
    solo = Solo()
    workers = [Worker(solo, a_job()) for _ in range(3)]
    assert all(worker.runs.wait(LIMIT_S) for worker in workers)
    for worker in workers:
        worker.may_go.set()


def test_a_suspect_waits_and_nothing_is_claimed_until_those_before_it_have_ended() -> None:
    solo = Solo()
    before = Worker(solo, a_job())
    assert before.runs.wait(LIMIT_S)
    suspect = Worker(solo, a_job(losses=1))
    assert suspect.claimed.wait(LIMIT_S)
    after = Worker(solo, a_job())
    assert not after.claimed.wait(0.1)
    assert not suspect.runs.is_set()
    before.may_go.set()
    assert suspect.runs.wait(LIMIT_S)
    assert not after.claimed.wait(0.1)
    suspect.may_go.set()
    assert after.runs.wait(LIMIT_S)
    after.may_go.set()


def test_the_door_opens_again_when_a_claim_finds_nothing_or_fails() -> None:
    solo = Solo()
    with solo.claimed(lambda: None) as job:
        assert job is None

    def fail() -> Job | None:
        raise ConnectionError

    with pytest.raises(ConnectionError), solo.claimed(fail):
        pass
    worker = Worker(solo, a_job(losses=2))
    assert worker.runs.wait(LIMIT_S)
    worker.may_go.set()


def test_the_door_opens_again_when_a_suspect_fails() -> None:
    solo = Solo()
    with pytest.raises(ZeroDivisionError), solo.claimed(lambda: a_job(losses=1)):
        raise ZeroDivisionError
    with solo.claimed(a_job) as job:
        assert job is not None


def test_a_suspect_that_waits_for_room_stops_when_its_lease_says_so() -> None:
    solo, suspect = Solo(), a_job(losses=1)
    before = Worker(solo, a_job())
    assert before.runs.wait(LIMIT_S)

    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError), solo.claimed(lambda: suspect):
        solo.wait_for_room(suspect, stop)
    before.may_go.set()


def test_a_suspect_is_never_in_company_when_many_threads_work_at_once() -> None:
    solo, lock = Solo(), threading.Lock()
    jobs = [a_job(losses=n % 3 == 0) for n in range(60)]
    here: list[Job] = []
    company = []

    def work() -> None:
        while True:
            with solo.claimed(lambda: jobs.pop() if jobs else None) as job:
                if job is None:
                    return
                with lock:
                    here.append(job)
                solo.wait_for_room(job, lambda: None)
                with lock:
                    company.append((job.losses, len(here)))
                    here.remove(job)

    in_threads(work, [()] * 6)
    assert len(company) == 60
    assert all(others == 1 for losses, others in company if losses)


def test_a_job_is_no_suspect_when_it_was_only_given_back() -> None:
    solo = Solo()
    workers = [Worker(solo, replace(a_job(), attempt=9)) for _ in range(2)]
    assert all(worker.runs.wait(LIMIT_S) for worker in workers)
    for worker in workers:
        worker.may_go.set()

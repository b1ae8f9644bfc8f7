"""Jobs as workers see them, on a real database: claims, fencing, outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import ProgrammingError

from shared.errors import DatabaseUnavailable, EngineFailed, StorageUnavailable, TimedOut
from shared.images.tables import images
from shared.jobs.job import Job
from shared.jobs.leases import LeaseStore
from shared.jobs.state import RETRY_JITTER, JobState, retry_delay_s
from shared.jobs.tables import job_events, jobs, turns
from shared.services import Services
from tests.factories import Factory, a_result, history, let_pass, row_of

LEASE_S = 600


def test_a_claim_gives_the_next_attempt_a_lease_and_a_deadline(
    services: Services, make: Factory
) -> None:
    waiting = make.job(timeout_s=100)
    job = services.leases.claim_next("warp", "worker-1")
    assert job is not None
    assert (job.id, job.status, job.attempt) == (waiting.id, JobState.RUNNING, 1)
    assert job.claimed_at == job.started_at
    assert job.deadline_at == (job.started_at or 0) + 100_000
    row = row_of(services.database, job.id)
    assert row["worker_id"] == "worker-1"
    assert row["lease_until"] == (job.claimed_at or 0) + LEASE_S * 1000
    assert history(services.database, job.id) == ["queued", "running"]
    assert services.leases.claim_next("warp", "worker-2") is None


def test_nothing_is_claimed_when_the_work_is_for_another_engine(
    services: Services, make: Factory
) -> None:
    make.job()
    assert services.leases.claim_next("lightningdrag", "worker") is None


def test_the_first_start_decides_the_deadline_when_a_job_is_claimed_again(
    services: Services, make: Factory
) -> None:
    first = make.running(timeout_s=100)
    services.leases.give_back(first)
    let_pass(services.database, 40)
    second = services.leases.claim_next("warp", "worker")
    assert second is not None
    assert second.attempt == 2
    assert second.deadline_at == (first.deadline_at or 0) - 40_000
    assert second.started_at == (first.started_at or 0) - 40_000
    assert (second.claimed_at or 0) > (second.started_at or 0)


def test_a_heartbeat_renews_the_lease_and_writes_the_progress(
    services: Services, make: Factory
) -> None:
    job = make.running()
    let_pass(services.database, LEASE_S / 2)
    pulse = services.leases.heartbeat(job, 3, 8)
    assert (pulse.is_lost, pulse.is_cancel_requested) == (False, False)
    row = row_of(services.database, job.id)
    assert (row["step"], row["steps"]) == (3, 8)
    assert row["lease_until"] >= (job.claimed_at or 0) + LEASE_S * 1000
    services.jobs.cancel(job.account_id, job.id)
    assert services.leases.heartbeat(job, 4, 8).is_cancel_requested


def test_a_result_is_recorded_with_its_timings_when_a_job_succeeds(
    services: Services, make: Factory
) -> None:
    job = make.running()
    services.leases.heartbeat(job, 2, 8)
    assert services.leases.succeed(job, a_result(job))
    ended = services.jobs.get(job.account_id, job.id)
    assert ended.status is JobState.SUCCEEDED
    assert ended.result is not None
    assert set(ended.result["timings"]) == {
        "queued_ms", "fetch_ms", "run_ms", "store_ms", "total_ms"
    }  # fmt: skip
    assert (ended.step, ended.steps) == (8, 8)
    assert ended.finished_at is not None
    assert ended.retain_until == ended.finished_at + 30 * 86_400_000
    assert row_of(services.database, job.id)["lease_until"] is None
    assert history(services.database, job.id) == ["queued", "running", "succeeded"]


def test_a_result_is_recorded_once_when_its_worker_heard_nothing_of_the_first_time(
    services: Services, make: Factory
) -> None:
    job = make.running()
    assert services.leases.succeed(job, a_result(job))
    before = _everything(services)
    assert services.leases.succeed(job, a_result(job))
    assert _everything(services) == before


def test_a_claim_tells_when_it_was_sent_by_the_clock_of_its_process(
    services: Services, make: Factory
) -> None:
    make.job()
    earlier = time.monotonic()
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    assert job.claim_sent is not None
    assert earlier <= job.claim_sent <= time.monotonic()


def test_the_lease_is_whole_when_the_claim_waited_long_for_a_connection(
    services: Services, make: Factory
) -> None:
    make.job()
    begun = time.monotonic()

    def wait(*_: object) -> None:
        time.sleep(0.2)

    event.listen(services.database.engine, "checkout", wait, once=True)
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    assert job.claim_sent is not None
    assert job.claim_sent - begun >= 0.2


def test_a_job_waits_longer_and_longer_and_fails_in_the_end_when_an_error_is_retryable(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=86_400)
    error = StorageUnavailable("away")
    retries = 0
    while (delay_s := retry_delay_s(retries)) is not None:
        assert services.leases.fail_or_requeue(job, error)
        retries += 1
        waiting = services.jobs.get(job.account_id, job.id)
        assert (waiting.status, waiting.retries) == (JobState.QUEUED, retries)
        shortest_s = delay_s * (1 - RETRY_JITTER)
        let_pass(services.database, shortest_s - 1)
        assert services.leases.claim_next("warp", "worker") is None
        assert services.upkeep.due_by_engine() == {}
        let_pass(services.database, delay_s - shortest_s + 1)
        assert services.upkeep.due_by_engine() == {"warp": 1}
        again = services.leases.claim_next("warp", "worker")
        assert again is not None
        job = again
    assert services.leases.fail_or_requeue(job, error)
    ended = services.jobs.get(job.account_id, job.id)
    assert ended.status is JobState.FAILED
    assert ended.error == {"code": "storage_unavailable", "message": "away", "retryable": True}
    assert ended.losses == 0


def test_a_job_fails_with_its_error_when_the_next_try_would_come_after_its_deadline(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=1)  # the first wait is two seconds
    assert services.leases.fail_or_requeue(job, StorageUnavailable("away"))
    ended = services.jobs.get(job.account_id, job.id)
    assert ended.status is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "storage_unavailable"


def test_a_job_fails_at_once_when_its_error_is_not_retryable(
    services: Services, make: Factory
) -> None:
    job = make.running()
    assert services.leases.fail_or_requeue(job, EngineFailed("broken"))
    ended = services.jobs.get(job.account_id, job.id)
    assert ended.error == {"code": "engine_failed", "message": "broken", "retryable": False}
    assert history(services.database, job.id) == ["queued", "running", "failed"]


def test_a_given_back_job_is_due_at_once_and_has_no_loss(services: Services, make: Factory) -> None:
    job = make.running()
    assert services.leases.give_back(job)
    again = services.leases.claim_next("warp", "another")
    assert again is not None
    assert (again.id, again.attempt, again.losses, again.retries) == (job.id, 2, 0, 0)


@pytest.mark.parametrize(
    "put_back",
    [
        lambda leases, job: leases.give_back(job),
        lambda leases, job: leases.fail_or_requeue(job, StorageUnavailable("away")),
    ],
    ids=["give_back", "fail_or_requeue"],
)
def test_a_job_is_canceled_instead_of_put_back_when_its_owner_asked_meanwhile(
    services: Services, make: Factory, put_back: Callable[[LeaseStore, Job], bool]
) -> None:
    job = make.running()
    services.jobs.cancel(job.account_id, job.id)
    assert put_back(services.leases, job)
    ended = services.jobs.get(job.account_id, job.id)
    assert ended.status is JobState.CANCELED
    assert ended.retain_until is not None
    assert history(services.database, job.id) == ["queued", "running", "canceled"]


WRITES: dict[str, Callable[[LeaseStore, Job], Any]] = {
    "heartbeat": lambda leases, job: not leases.heartbeat(job, 7, 9).is_lost,
    "succeed": lambda leases, job: leases.succeed(job, a_result(job)),
    "fail": lambda leases, job: leases.fail(job, TimedOut("over")),
    "cancel": lambda leases, job: leases.cancel(job),
    "give_back": lambda leases, job: leases.give_back(job),
    "requeue": lambda leases, job: leases.fail_or_requeue(job, StorageUnavailable("away")),
    "fail_or_requeue": lambda leases, job: leases.fail_or_requeue(job, EngineFailed("broken")),
}


def _taken_back(services: Services, job: Job) -> None:
    let_pass(services.database, LEASE_S + 1)
    assert [j.id for j in services.upkeep.take_back_expired_leases()] == [job.id]


def _taken_over(services: Services, job: Job) -> None:
    _taken_back(services, job)
    again = services.leases.claim_next("warp", "worker")  # of the same name
    assert again is not None
    assert (again.id, again.attempt) == (job.id, 2)


def _succeeded(services: Services, job: Job) -> None:
    assert services.leases.succeed(job, a_result(job, "other.png"))


def _asked_to_cancel_and_taken_over(services: Services, job: Job) -> None:
    _taken_over(services, job)
    services.jobs.cancel(job.account_id, job.id)


def _deleted(services: Services, job: Job) -> None:
    _succeeded(services, job)
    services.jobs.delete(job.account_id, job.id)
    services.jobs.submit(job.account_id, job.spec, {})


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "happened",
    [_taken_back, _taken_over, _succeeded, _asked_to_cancel_and_taken_over, _deleted],
)
def test_an_old_attempt_changes_nothing_when_the_job_is_not_its_own_any_more(
    services: Services,
    make: Factory,
    write: str,
    happened: Callable[[Services, Job], None],
) -> None:
    job = make.running(timeout_s=86_400)
    happened(services, job)
    before = _everything(services)
    assert not WRITES[write](services.leases, job)
    assert _everything(services) == before


def _everything(services: Services) -> list[list[tuple[Any, ...]]]:
    with services.database.reading() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in (jobs, job_events, turns, images)
        ]


MOVES: dict[str, Callable[[Services, Job], Any]] = {
    "submit": lambda services, job: services.jobs.submit(job.account_id, job.spec, {}),
    "claim": lambda services, job: services.leases.claim_next("warp", "worker"),
    "cancel of a queued one": lambda services, job: services.jobs.cancel(
        job.account_id, services.jobs.page(job.account_id, limit=1)[0].id
    ),
    "lease expired": lambda services, job: services.upkeep.take_back_expired_leases(),
    **{
        name: lambda services, job, write=write: write(services.leases, job)
        for name, write in WRITES.items()
        if name != "heartbeat"
    },
}


@pytest.mark.parametrize("move", MOVES)
def test_neither_the_move_nor_its_event_is_there_when_the_event_cannot_be_written(
    services: Services, make: Factory, move: str
) -> None:
    job = make.running()
    make.job(job.account_id)  # one that waits
    if move == "lease expired":
        let_pass(services.database, LEASE_S + 1)
    before = _everything(services)
    _rename(services, "job_events", "elsewhere")
    with pytest.raises((DatabaseUnavailable, ProgrammingError)):
        MOVES[move](services, job)
    _rename(services, "elsewhere", "job_events")
    assert _everything(services) == before
    MOVES[move](services, job)
    assert len(_everything(services)[1]) == len(before[1]) + 1


def _rename(services: Services, table: str, name: str) -> None:
    with services.database.writing() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")

"""What a running job listens to: its lease, its deadline, its owner, its process."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

from shared.errors import DatabaseUnavailable
from shared.jobs.job import Job
from shared.jobs.leases import Pulse
from tests.fakes import ALIVE, CANCEL_ASKED, LOST, FakeLeaseStore
from tests.unit.test_solo import a_job
from worker.watch import (
    CancelAsked,
    DeadlinePassed,
    Drain,
    Heart,
    Lease,
    LeaseLost,
    Stopped,
    WorkerDrains,
)

LONG_S = 600.0
LIMIT_S = 10.0


def a_heart(store: FakeLeaseStore, drain: Drain | None = None, lease_s: float = LONG_S) -> Heart:
    return Heart(store, drain or Drain(), lease_s=lease_s, heartbeat_s=0.02)  # type: ignore[arg-type]


def stopped(lease: Lease) -> Stopped:
    """What ends the run, once it does."""
    limit_s = time.monotonic() + LIMIT_S
    while time.monotonic() < limit_s:
        try:
            lease.step(1, 2)
        except Stopped as stop:
            return stop
        time.sleep(0.005)
    raise AssertionError("nothing stopped the run")


def test_a_run_goes_on_when_nothing_ends_it() -> None:
    lease = Lease(a_job(), Drain(), LONG_S)
    lease.check()
    lease.step(3, 8)
    assert (lease.done, lease.steps) == (3, 8)


def test_a_lease_counts_from_before_its_claim_was_sent() -> None:
    asked_at = time.monotonic() - 5
    lease = Lease(replace(a_job(), claim_sent=asked_at), Drain(), lease_s=10)
    assert 4 < lease.left_s < 5
    with pytest.raises(LeaseLost):
        Lease(replace(a_job(), claim_sent=asked_at), Drain(), lease_s=5).check()


def test_a_run_stops_when_its_lease_was_not_renewed_in_time() -> None:
    lease = Lease(a_job(), Drain(), lease_s=0.01)
    time.sleep(0.011)
    with pytest.raises(LeaseLost):
        lease.check()
    lease.renewed(time.monotonic())
    lease.check()


def test_a_run_stops_at_the_deadline_that_the_database_has_for_it() -> None:
    job = replace(a_job(), claimed_at=1_000_000, deadline_at=1_000_000)
    with pytest.raises(DeadlinePassed, match="300 s"):
        Lease(job, Drain(), LONG_S).check()
    Lease(replace(job, deadline_at=1_060_000), Drain(), LONG_S).check()


def test_a_run_stops_only_after_the_grace_when_its_worker_drains() -> None:
    drain = Drain()
    lease = Lease(a_job(), drain, LONG_S)
    assert not drain.has_begun
    drain.begin(LONG_S)
    assert drain.has_begun
    lease.check()
    soon = Drain()
    soon.begin(0)
    with pytest.raises(WorkerDrains):
        Lease(a_job(), soon, LONG_S).check()


def test_a_drain_is_not_put_off_when_the_worker_is_told_again() -> None:
    drain = Drain()
    drain.begin(0)
    drain.begin(LONG_S)
    assert drain.is_over


def test_a_drain_is_over_when_the_worker_is_told_again() -> None:
    drain = Drain()
    drain.begin(LONG_S)
    assert not drain.is_over
    drain.begin(LONG_S)
    assert drain.is_over


def test_the_first_reason_counts_when_there_are_several() -> None:
    lease = Lease(a_job(), Drain(), LONG_S)
    lease.stop(CancelAsked("first"))
    lease.stop(LeaseLost("second"))
    for _ in range(2):
        with pytest.raises(CancelAsked, match="first"):
            lease.check()


def test_a_lease_is_renewed_and_progress_written_while_the_block_runs() -> None:
    store = FakeLeaseStore()
    with a_heart(store, lease_s=LONG_S).keep(a_job()) as lease:
        lease.step(2, 5)
        store.wait_for(lambda: [b[2:] for b in store.beats].count((2, 5)) >= 2)
    count = len(store.beats)
    time.sleep(0.1)
    assert len(store.beats) <= count + 1  # the one that was under way


def test_progress_is_written_soon_when_the_next_heartbeat_is_far() -> None:
    store = FakeLeaseStore()
    heart = Heart(store, Drain(), lease_s=LONG_S, heartbeat_s=300)  # type: ignore[arg-type]
    with heart.keep(a_job()) as lease:
        lease.step(1, 5)
        store.wait_for(lambda: store.beats == [("job_1", 1, 1, 5)])
        lease.step(4, 5)
        store.wait_for(lambda: store.beats[-1] == ("job_1", 1, 4, 5))
    assert len(store.beats) == 2


@pytest.mark.parametrize(("answer", "reason"), [(LOST, LeaseLost), (CANCEL_ASKED, CancelAsked)])
def test_a_run_stops_when_a_heartbeat_says_so(answer: Pulse, reason: type[Stopped]) -> None:
    with a_heart(FakeLeaseStore(lambda job: answer)).keep(a_job()) as lease:
        assert isinstance(stopped(lease), reason)


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), RuntimeError("nobody foresaw it")])
def test_the_heart_beats_on_when_a_heartbeat_fails(error: Exception) -> None:
    answers = [error, error]

    def answer(job: Job) -> Pulse:
        if answers:
            raise answers.pop()
        return ALIVE

    store = FakeLeaseStore(answer)
    with a_heart(store).keep(a_job()) as lease:
        store.wait_for(lambda: len(store.beats) >= 4)
        lease.check()


def test_a_run_stops_when_no_heartbeat_gets_through_for_as_long_as_the_lease() -> None:
    def answer(job: Job) -> Pulse:
        raise DatabaseUnavailable("away")

    with a_heart(FakeLeaseStore(answer), lease_s=0.1).keep(a_job()) as lease:
        assert isinstance(stopped(lease), LeaseLost)


def test_every_lease_of_the_process_is_kept_when_one_is_lost() -> None:
    store = FakeLeaseStore(lambda job: LOST if job.id == "job_1" else ALIVE)
    heart = a_heart(store)
    with heart.keep(a_job()) as lost, heart.keep(replace(a_job(), id="job_2")) as kept:
        assert isinstance(stopped(lost), LeaseLost)
        count = len(store.beats)
        store.wait_for(lambda: [b[0] for b in store.beats[count:]].count("job_2") >= 2)
        kept.check()


def test_a_later_attempt_is_kept_when_an_earlier_one_of_the_same_process_ends() -> None:
    store = FakeLeaseStore(lambda job: LOST if job.attempt == 1 else ALIVE)
    heart = a_heart(store)
    with ExitStack() as earlier, ExitStack() as later:
        earlier.enter_context(heart.keep(a_job()))
        lease = later.enter_context(heart.keep(replace(a_job(), attempt=2)))
        earlier.close()
        count = len(store.beats)
        store.wait_for(lambda: [b[1] for b in store.beats[count:]].count(2) >= 2)
        lease.check()

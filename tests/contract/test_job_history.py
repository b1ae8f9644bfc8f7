"""What those who watch jobs are told: each state once, in order, and nothing of others."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from shared.errors import NotFound
from shared.jobs.job import Job
from shared.services import Services
from tests.crowd import in_threads
from tests.factories import Factory, a_result, let_pass


def states(services: Services, job: Job) -> list[tuple[str, int]]:
    history = services.histories.get(job.account_id, job.id)
    ids = [state.id for state in history.reached]
    assert ids == sorted(set(ids))
    assert all(abs(state.at - job.created_at) < 3_600_000 for state in history.reached)
    return [(state.status.value, state.attempt) for state in history.reached]


def test_a_history_has_every_state_when_a_job_was_lost_and_ran_again(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=86_400)
    let_pass(services.database, services.settings.lease_s + 1)
    services.upkeep.take_back_expired_leases()
    again = services.leases.claim_next("warp", "worker")
    assert again is not None
    services.leases.succeed(again, a_result(again))
    assert states(services, job) == [
        ("queued", 0), ("running", 1), ("queued", 1), ("running", 2), ("succeeded", 2),
    ]  # fmt: skip
    assert services.histories.get(job.account_id, job.id).job.status.is_final


def test_a_history_is_not_found_when_it_is_another_accounts_or_gone(
    services: Services, make: Factory
) -> None:
    job = make.job()
    for account_id, job_id in ((make.account(), job.id), (job.account_id, "job_" + "0" * 32)):
        with pytest.raises(NotFound):
            services.histories.get(account_id, job_id)


def test_only_what_changed_is_told_when_many_are_watched(services: Services, make: Factory) -> None:
    account = make.account()
    first, second, third = (make.job(account) for _ in range(3))
    known = {
        job.id: services.histories.get(account, job.id).version for job in (first, second, third)
    }
    assert services.histories.changed(known) == {}
    running = services.leases.claim_next("warp", "worker")
    assert running is not None
    assert running.id == first.id
    services.jobs.cancel(account, third.id)
    services.jobs.delete(account, third.id)
    changed = services.histories.changed(known)
    assert changed.keys() == {first.id, third.id}
    assert changed[third.id] is None
    now = changed[first.id]
    assert now is not None
    assert now == services.histories.get(account, first.id)
    known = {first.id: now.version}
    services.leases.heartbeat(running, 3, 8)
    again = services.histories.changed(known)[first.id]
    assert again is not None
    assert (again.job.step, again.job.steps) == (3, 8)
    assert again.reached == now.reached


def test_every_change_is_told_when_a_job_is_put_back_and_claimed_between_two_looks(
    services: Services, make: Factory
) -> None:
    job = make.running()
    version = services.histories.get(job.account_id, job.id).version
    services.leases.give_back(job)
    services.leases.claim_next("warp", "worker")
    now = services.histories.changed({job.id: version})[job.id]
    assert now is not None
    assert [state.status.value for state in now.reached] == [
        "queued", "running", "queued", "running",
    ]  # fmt: skip


def test_a_look_reads_no_histories_when_nothing_changed(services: Services, make: Factory) -> None:
    job = make.job()
    known = {job.id: services.histories.get(job.account_id, job.id).version}
    sent: list[str] = []
    engine = services.database.engine
    event.listen(engine, "before_cursor_execute", lambda *a: sent.append(a[2]))
    services.histories.changed(known)
    reads = [statement for statement in sent if statement.startswith("SELECT")]
    assert len(reads) == 1
    assert "spec" not in reads[0]


def test_a_watcher_misses_no_state_when_the_job_moves_under_it(
    services: Services, make: Factory
) -> None:
    """Whoever goes on after the last id sees each state exactly once, whatever commits when."""
    job = make.job()
    is_over: list[bool] = []

    def move() -> list[int]:
        for _ in range(25):
            running = services.leases.claim_next("warp", "worker")
            assert running is not None
            services.leases.give_back(running)
        is_over.append(True)
        return []

    def watch() -> list[int]:
        seen: list[int] = []
        while True:
            ends = bool(is_over)
            history = services.histories.get(job.account_id, job.id)
            seen += [s.id for s in history.reached if not seen or s.id > seen[-1]]
            if ends:
                return seen

    _, *watched = in_threads(lambda call: call(), [(move,), (watch,), (watch,)])
    truth = [state.id for state in services.histories.get(job.account_id, job.id).reached]
    assert len(truth) == 51
    assert watched == [truth, truth]

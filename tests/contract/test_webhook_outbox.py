"""Who is told of what: the rows are written with the state that they tell of, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select

from shared.db import Database
from shared.edits import JobWebhook
from shared.errors import TimedOut
from shared.jobs.state import JobState
from shared.services import Services
from shared.webhooks import outbox
from shared.webhooks.tables import webhook_deliveries
from tests.factories import HOOK, Factory, a_result, let_pass
from worker.sweep import sweep


def told(database: Database) -> list[dict[str, Any]]:
    """Every delivery, in the order in which they were promised."""
    query = select(webhook_deliveries).order_by(webhook_deliveries.c.id)
    with database.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def kinds(database: Database) -> list[str]:
    return [row["event_type"] for row in told(database)]


def test_an_endpoint_is_told_of_each_end_that_it_asked_for(
    services: Services, make: Factory
) -> None:
    account = make.account()
    endpoint = make.endpoint(account)
    make.endpoint(account, "job.failed")
    make.endpoint(make.account())
    job = make.ended(account)
    (row,) = told(services.database)
    assert row | {"id": "", "event_id": ""} == row | {
        "id": "", "event_id": "", "account_id": account, "event_type": "job.succeeded",
        "job_id": job.id, "data": None, "endpoint_id": endpoint.id, "url": None,
        "status": "pending", "attempt": 0, "tries": 0, "lease_until": None, "finished_at": None,
    }  # fmt: skip
    assert row["next_at"] == row["created_at"] == row["asked_at"]
    services.leases.fail(make.running(account), TimedOut("late"))
    assert kinds(services.database) == ["job.succeeded", "job.failed", "job.failed"]


def test_all_who_are_told_of_one_event_are_told_under_one_id(
    services: Services, make: Factory
) -> None:
    account = make.account()
    for _ in range(3):
        make.endpoint(account)
    make.ended(account, webhook=JobWebhook(HOOK, ("job.*",)))
    make.ended(account)
    ids = [row["event_id"] for row in told(services.database)]
    assert (len(ids), len(set(ids))) == (7, 2)
    assert len({row["lane"] for row in told(services.database)}) == 4


@pytest.mark.parametrize(("wanted", "count"), [("*", 1), ("job.succeeded", 1), ("job.failed", 0)])
def test_the_url_of_a_job_is_told_when_it_asked_for_this_end(
    services: Services, make: Factory, wanted: str, count: int
) -> None:
    make.ended(webhook=JobWebhook(HOOK, (wanted,)))
    assert [row["url"] for row in told(services.database)] == [HOOK] * count


def test_urls_of_jobs_share_a_lane_when_they_have_one_host(
    services: Services, make: Factory
) -> None:
    account = make.account()
    for url in (f"{HOOK}?job=1", f"{HOOK}?job=2", "https://other.example/"):
        make.ended(account, webhook=JobWebhook(url, ("*",)))
    make.ended(webhook=JobWebhook(HOOK, ("*",)))
    assert len({row["lane"] for row in told(services.database)}) == 3
    assert all(row["lane"].startswith(row["account_id"]) for row in told(services.database))


def test_nobody_is_told_when_a_job_only_moves_on(services: Services, make: Factory) -> None:
    account = make.account()
    make.endpoint(account)
    job = make.running(account)
    services.leases.give_back(job)
    assert told(services.database) == []


def test_a_disabled_endpoint_is_told_nothing(services: Services, make: Factory) -> None:
    account = make.account()
    make.endpoint(account, disabled=True)
    make.ended(account)
    assert told(services.database) == []


def test_owners_and_the_sweep_are_the_cause_of_events_as_well(
    services: Services, make: Factory
) -> None:
    accounts = [make.account() for _ in range(3)]
    for account in accounts:
        make.endpoint(account)
        make.job(account, expires_in_s=5)
    canceled = make.job(accounts[0])
    services.jobs.cancel(accounts[0], canceled.id)
    let_pass(services.database, 6)
    assert len(services.upkeep.expire_waiting()) == 3
    assert sorted(kinds(services.database)) == ["job.canceled"] + ["job.expired"] * 3


def test_a_job_ends_with_its_deliveries_or_not_at_all(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying between the two is dying before the commit of both."""
    account = make.account()
    make.endpoint(account)
    job = make.running(account)
    real = outbox.promise

    def die(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "promise", die)
    with pytest.raises(KeyboardInterrupt):
        services.leases.succeed(job, a_result(job))
    assert services.jobs.get(account, job.id).status is JobState.RUNNING
    assert told(services.database) == []
    monkeypatch.undo()
    assert services.leases.succeed(job, a_result(job))
    assert len(told(services.database)) == 1


def test_one_event_is_promised_when_the_same_result_is_recorded_twice(
    services: Services, make: Factory
) -> None:
    account = make.account()
    make.endpoint(account)
    job = make.running(account)
    for _ in range(2):
        assert services.leases.succeed(job, a_result(job))
    assert len(told(services.database)) == 1


def _statements(services: Services, call: Callable[[], object]) -> list[str]:
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        sent.append(" ".join(statement.split()))

    event.listen(services.database.engine, "before_cursor_execute", note)
    call()
    event.remove(services.database.engine, "before_cursor_execute", note)
    return [statement for statement in sent if "webhook" in statement]


def test_one_look_up_is_all_it_costs_when_nobody_wants_to_know(
    services: Services, make: Factory
) -> None:
    job = make.running()
    sent = _statements(services, lambda: services.leases.succeed(job, a_result(job)))
    assert [statement.split()[0] for statement in sent] == ["SELECT"]


def test_two_statements_are_enough_when_many_jobs_of_many_accounts_end_at_once(
    services: Services, make: Factory
) -> None:
    for _ in range(3):
        account = make.account()
        make.endpoint(account)
        make.endpoint(account)
        for _ in range(4):
            make.job(account, expires_in_s=5)
    let_pass(services.database, 6)
    sent = _statements(services, services.upkeep.expire_waiting)
    assert [statement.split()[0] for statement in sent] == ["SELECT", "INSERT"]
    assert len(told(services.database)) == 24


def test_a_wake_up_follows_the_commit_when_somebody_is_to_be_told(
    services: Services, make: Factory
) -> None:
    calls: list[int] = []
    services.database.after_commit(
        outbox.DELIVERIES, lambda: calls.append(len(told(services.database)))
    )
    make.ended()
    assert calls == []
    account = make.account()
    make.endpoint(account)
    make.ended(account)
    assert calls == [1]  # and what was promised can be seen by then

    def fail() -> None:
        with services.database.writing() as connection:
            outbox.announce(connection, outbox.DELIVERIES)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert calls == [1]


def test_deliveries_go_when_the_job_the_endpoint_or_the_account_goes(
    services: Services, make: Factory
) -> None:
    account = make.account()
    first, second = make.endpoint(account), make.endpoint(account)
    job = make.ended(account)
    make.ended(account)
    assert len(told(services.database)) == 4
    services.jobs.delete(account, job.id)
    assert len(told(services.database)) == 2
    services.webhooks.endpoints.delete(account, first.id)
    assert [row["endpoint_id"] for row in told(services.database)] == [second.id]
    sweep(services)
    assert len(told(services.database)) == 1

"""Idempotency keys in the database: one holder at a time, and one thing made for each key."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, func, insert, select

from shared.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, InvalidRequest
from shared.idempotency.claims import Claim, Completion, Made
from shared.idempotency.store import LEASE_MS, LEFT_MS, MEMORY_MS, SLICE, complete
from shared.idempotency.tables import idempotency_keys
from shared.jobs.tables import jobs
from shared.services import Services
from tests.crowd import in_threads
from tests.factories import Factory, a_spec, let_pass

ONE, OTHER = b"1" * 32, b"2" * 32
LEASE_S, MEMORY_S, LEFT_S = LEASE_MS / 1000, MEMORY_MS / 1000, LEFT_MS / 1000


def claimed(services: Services, account_id: str, key: str = "key") -> Claim:
    claim = services.idempotency.take(account_id, key, ONE)
    assert isinstance(claim, Claim)
    return claim


def writing(claim: Claim) -> Completion:
    return lambda connection, object_id, is_new: complete(connection, claim, object_id, 202)


def count_jobs(services: Services) -> int:
    with services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def count_keys(services: Services) -> int:
    with services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(idempotency_keys)) or 0


def fill(services: Services, account_id: str, count: int, expires_at: int) -> None:
    same = {"account_id": account_id, "fingerprint": ONE, "holder": "h", "expires_at": expires_at}
    rows = [{**same, "key": str(n), "object_id": "job_1", "status": 202} for n in range(count)]
    with services.database.writing() as connection:
        connection.execute(insert(idempotency_keys), rows)


def test_a_key_is_in_flight_when_somebody_took_it(services: Services, make: Factory) -> None:
    account = make.account()
    assert not services.idempotency.is_in_flight(account, "key")
    claimed(services, account)
    assert services.idempotency.take(account, "key", ONE) is None
    assert services.idempotency.is_in_flight(account, "key")


def test_a_key_gives_what_it_made_when_it_is_taken_again(services: Services, make: Factory) -> None:
    account = make.account()
    services.idempotency.complete(claimed(services, account), "job_1", 202)
    assert services.idempotency.take(account, "key", ONE) == Made("job_1", 202)
    assert not services.idempotency.is_in_flight(account, "key")


def test_a_key_is_another_one_when_it_is_another_accounts(
    services: Services, make: Factory
) -> None:
    claimed(services, make.account())
    claimed(services, make.account())


@pytest.mark.parametrize("is_made", [False, True])
def test_a_key_is_refused_when_it_comes_with_another_request(
    services: Services, make: Factory, is_made: bool
) -> None:
    account = make.account()
    claim = claimed(services, account)
    if is_made:
        services.idempotency.complete(claim, "job_1", 202)
    with pytest.raises(IdempotencyKeyReused):
        services.idempotency.take(account, "key", OTHER)


def test_a_key_is_free_when_it_was_released(services: Services, make: Factory) -> None:
    account = make.account()
    services.idempotency.release(claimed(services, account))
    assert isinstance(services.idempotency.take(account, "key", OTHER), Claim)


def test_a_release_takes_nothing_back_when_something_was_made(
    services: Services, make: Factory
) -> None:
    account = make.account()
    claim = claimed(services, account)
    services.idempotency.complete(claim, "job_1", 202)
    services.idempotency.release(claim)
    assert services.idempotency.take(account, "key", ONE) == Made("job_1", 202)


def test_a_key_is_taken_over_when_the_lease_of_its_holder_ran_out(
    services: Services, make: Factory
) -> None:
    account = make.account()
    old = claimed(services, account)
    let_pass(services.database, LEASE_S + 1)
    assert not services.idempotency.is_in_flight(account, "key")
    new = claimed(services, account)
    services.idempotency.release(old)
    assert services.idempotency.take(account, "key", ONE) is None, "the new one's"
    with pytest.raises(IdempotencyKeyInFlight):
        services.idempotency.complete(old, "job_old", 202)
    services.idempotency.complete(new, "job_new", 202)
    with pytest.raises(IdempotencyKeyInFlight):
        services.idempotency.complete(old, "job_old", 202)
    assert services.idempotency.take(account, "key", ONE) == Made("job_new", 202)


def test_an_old_holder_makes_no_second_job_when_it_wakes_up(
    services: Services, make: Factory
) -> None:
    account = make.account()
    spec = a_spec(make.image(account).id)
    old = claimed(services, account)
    let_pass(services.database, LEASE_S + 1)
    new = claimed(services, account)
    with pytest.raises(IdempotencyKeyInFlight):
        services.jobs.submit(account, spec, {}, completion=writing(old))
    assert count_jobs(services) == 0
    job = services.jobs.submit(account, spec, {}, completion=writing(new))
    with pytest.raises(IdempotencyKeyInFlight):
        services.jobs.submit(account, spec, {}, completion=writing(old))
    assert count_jobs(services) == 1
    assert services.idempotency.take(account, "key", ONE) == Made(job.id, 202)


def test_a_slow_holder_makes_its_job_when_nobody_took_over(
    services: Services, make: Factory
) -> None:
    account = make.account()
    slow = claimed(services, account)
    let_pass(services.database, LEASE_S + 1)
    services.idempotency.forget_old()
    spec = a_spec(make.image(account).id)
    job = services.jobs.submit(account, spec, {}, completion=writing(slow))
    assert services.idempotency.take(account, "key", ONE) == Made(job.id, 202)


def test_a_key_has_made_nothing_when_the_transaction_was_rolled_back(
    services: Services, make: Factory
) -> None:
    account = make.account()
    claim = claimed(services, account)
    with pytest.raises(InvalidRequest):
        services.jobs.submit(account, a_spec(), {}, completion=writing(claim))
    assert services.idempotency.take(account, "key", ONE) is None


def test_an_image_is_made_with_its_key_or_not_at_all(services: Services, make: Factory) -> None:
    account = make.account()
    facts = {"sha256": "a" * 64, "content_type": "image/png", "size_bytes": 5}
    old = claimed(services, account)
    let_pass(services.database, LEASE_S + 1)
    new = claimed(services, account)
    with pytest.raises(IdempotencyKeyInFlight):
        services.images.announce(account, **facts, completion=writing(old))
    assert services.images.find(account, "a" * 64) is None
    image, is_new = services.images.announce(account, **facts, completion=writing(new))
    assert is_new
    assert services.idempotency.take(account, "key", ONE) == Made(image.id, 202)


def test_a_key_is_free_again_when_a_day_has_passed(services: Services, make: Factory) -> None:
    account = make.account()
    services.idempotency.complete(claimed(services, account), "job_1", 202)
    let_pass(services.database, MEMORY_S - 60)
    assert services.idempotency.take(account, "key", ONE) == Made("job_1", 202)
    let_pass(services.database, 61)
    assert isinstance(services.idempotency.take(account, "key", OTHER), Claim)


def test_old_keys_are_forgotten_slice_by_slice_when_the_sweep_comes(
    services: Services, make: Factory
) -> None:
    account = make.account()
    services.idempotency.complete(claimed(services, account, "made"), "job_1", 202)
    claimed(services, account, "left")
    fill(services, account, SLICE + 1, expires_at=1000)
    services.idempotency.forget_old()
    assert count_keys(services) == 2
    let_pass(services.database, LEFT_S + LEASE_S + 1)
    services.idempotency.forget_old()
    assert count_keys(services) == 1
    assert services.idempotency.take(account, "made", ONE) == Made("job_1", 202)
    let_pass(services.database, MEMORY_S)
    services.idempotency.forget_old()
    assert count_keys(services) == 0


def test_one_of_many_holds_a_key_when_they_take_it_at_once(
    services: Services, make: Factory
) -> None:
    account = make.account()
    spec = a_spec(make.image(account).id)

    def submit() -> str | None:
        found = services.idempotency.take(account, "key", ONE)
        if isinstance(found, Claim):
            return services.jobs.submit(account, spec, {}, completion=writing(found)).id
        return found.object_id if found is not None else None

    for is_late in (False, True):  # a free key, then one whose day is over
        answers = in_threads(submit, [()] * 16)
        made = {answer for answer in answers if answer is not None}
        assert len(made) == 1
        assert count_jobs(services) == 1 + is_late
        let_pass(services.database, MEMORY_S + 1)


def test_a_slice_is_found_by_its_index_when_there_are_many_keys(
    services: Services, make: Factory
) -> None:
    fill(services, make.account(), 5000, expires_at=2**50)
    engine, sent = services.database.engine, []

    def note(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    services.idempotency.forget_old()
    event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = [each for each in sent if each[0].startswith("DELETE")]
    is_sqlite = engine.dialect.name == "sqlite"
    with services.database.writing() as connection:
        connection.exec_driver_sql("ANALYZE")
        explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    plan = [str(row[-1]) for row in rows]
    assert any("ix_idempotency_keys_expires_at" in line for line in plan), plan
    assert not any("SCAN" in line or "Seq Scan" in line for line in plan), plan

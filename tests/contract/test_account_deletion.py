"""An account that is deleted is gone: rows, objects, and whatever comes after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import func, select, update

from shared.accounts.deletion import SLICE, Removed
from shared.accounts.tables import accounts, deleted_accounts
from shared.audit.tables import audit_log
from shared.audit.trail import Actor, act_as
from shared.db import now_ms
from shared.edits import JobWebhook
from shared.errors import LimitExceeded, NotFound, StorageUnavailable, Unauthorized
from shared.jobs.tables import jobs
from shared.objects.keys import PREFIXES
from shared.services import Services
from tests.crowd import in_threads
from tests.crowded import Crowd, name_of
from tests.factories import HOOK, Factory, a_picture, a_result, a_spec, let_pass, rows_that_name

REMEMBERS = {"audit_log", "deleted_accounts"}  #: tables that keep the id, and say what for


def lived_in(services: Services, make: Factory) -> str:
    """An account with a bit of everything."""
    act_as(Actor("key", "0" * 16))
    account_id = make.account()
    image = make.image(account_id, is_stored=True).id
    sent = {"content_type": "image/png", "size_bytes": 5, "sha256": "b" * 64}
    announced, _ = services.images.announce(account_id, **sent)
    services.objects.put(f"staging/{account_id}/{announced.id}", b"12345")
    hook = {"url": HOOK, "events": ["job.*"], "description": "", "disabled": False}
    services.webhooks.endpoints.create(account_id, **hook)
    services.webhooks.endpoints.account_secret(account_id)
    for _ in range(3):
        make.job(account_id, {"order": "7"}, image=image)
    done = services.leases.claim_next("warp", "w")
    assert done is not None
    services.objects.put(f"results/{account_id}/{done.id}/1/0.png", a_picture())
    services.leases.succeed(done, {**a_result(done), "stored_bytes": 70})
    assert services.leases.claim_next("warp", "w") is not None
    return account_id


@pytest.fixture(autouse=True)
def _nobody_acts_after_a_test() -> Iterator[None]:
    yield
    act_as(None)


def name(services: Services, account_id: str) -> str:
    return services.accounts.get(account_id).name


def objects_of(services: Services, account_id: str) -> list[str]:
    return [
        stored.key
        for prefix in PREFIXES
        for stored in services.objects.walk(f"{prefix}{account_id}/", "", 1000)
    ]


def assert_gone(services: Services, account_id: str) -> None:
    assert set(rows_that_name(services.database, account_id)) <= REMEMBERS
    assert objects_of(services, account_id) == []


def test_nothing_is_left_and_the_answer_says_what_went_when_an_account_is_deleted(
    services: Services, make: Factory
) -> None:
    mine, other = lived_in(services, make), lived_in(services, make)
    before = rows_that_name(services.database, other)
    endpoints = services.webhooks.endpoints.page(mine, limit=9)
    stored_bytes = services.accounts.usage(mine).stored_bytes
    removed = services.account_deletion.delete(name(services, mine))
    assert_gone(services, mine)
    assert (removed.keys, removed.jobs, removed.images, removed.objects) == (1, 3, 2, 3)
    assert (removed.deliveries, removed.endpoints) == (1, len(endpoints))
    assert len(endpoints) > 0
    assert removed.stored_bytes == stored_bytes > 70
    assert rows_that_name(services.database, other) == before
    assert len(objects_of(services, other)) == 3
    with pytest.raises(NotFound):
        services.accounts.get(mine)


def test_one_entry_stays_that_says_who_deleted_it_and_how_much_it_was(
    services: Services, make: Factory
) -> None:
    account_id = lived_in(services, make)
    act_as(Actor("cli", "operator"))
    services.account_deletion.delete(name(services, account_id))
    (entry,) = services.audit_log.page(account_id, limit=9)
    assert (entry.action, entry.actor, entry.actor_id) == ("account.deleted", "cli", "operator")
    assert entry.details["jobs"] == 3


def test_the_name_is_free_again_when_an_account_is_gone(services: Services, make: Factory) -> None:
    account_id = lived_in(services, make)
    called = name(services, account_id)
    services.account_deletion.delete(called)
    assert services.accounts.create_account(called).id != account_id


class Killed(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_rest_goes_when_a_deletion_that_was_killed_is_run_again(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    account_id = lived_in(services, make)
    key = services.accounts.create_key(name(services, account_id))

    def die(removed: Removed, told: list[int] = []) -> None:  # noqa: B006 - it counts the calls
        told.append(1)
        if len(told) == at:
            raise Killed

    with pytest.raises(Killed):
        services.account_deletion.delete(name(services, account_id), die)
    assert services.accounts.account_of(key.text) is None
    with pytest.raises(Unauthorized):
        make.image(account_id)
    with pytest.raises(NotFound, match="being deleted"):
        services.accounts.create_key(name(services, account_id))
    services.account_deletion.delete(name(services, account_id))
    assert_gone(services, account_id)


def begin_to_delete(services: Services, account_id: str) -> None:
    """Killed after its first step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.account_deletion, "_delete_deliveries", _die)
        with pytest.raises(Killed):
            services.account_deletion.delete(name(services, account_id))


def _die(*_: object) -> int:
    raise Killed


def test_nothing_is_sent_or_promised_any_more_when_the_deletion_of_an_account_has_begun(
    services: Services, make: Factory
) -> None:
    mine, other = make.account(), make.account()
    for account_id in (mine, other):
        make.endpoint(account_id)
        make.ended(account_id, webhook=JobWebhook(HOOK, ("*",)))
    running = make.running(mine)
    begin_to_delete(services, mine)
    claims, _ = services.webhooks.dispatch.claim("", lambda *_: 100, 100)
    assert [claim.account_id for claim in claims] == [other, other]
    (endpoint,) = services.webhooks.endpoints.page(mine, limit=9)
    assert endpoint.disabled_at is not None
    assert services.leases.succeed(running, a_result(running))
    log = services.webhooks.deliveries.page(mine, limit=9)
    assert {each.attempts[0].error for each in log} == {"account_deleted"}
    assert len(log) == 2
    services.account_deletion.delete(name(services, mine))
    assert_gone(services, mine)


def test_no_key_is_made_or_rotated_when_the_deletion_of_an_account_has_begun(
    services: Services, make: Factory
) -> None:
    """Nor by one that began before: its key is found, and its account waited for."""
    account_id = make.account()
    called, key = name(services, account_id), services.accounts.create_key
    old = key(called)
    with services.database.writing() as connection:
        going = update(accounts).where(accounts.c.id == account_id)
        connection.execute(going.values(deleting_at=now_ms()))
    for refused in (
        lambda: services.accounts.rotate_key(old.id, overlap_s=60),
        lambda: key(called),
        lambda: services.accounts.set_limits(called, {"queued_jobs": 1}),
    ):
        with pytest.raises(NotFound, match="being deleted"):
            refused()
    services.account_deletion.delete(called)
    with pytest.raises(NotFound, match="no usable key"):
        services.accounts.rotate_key(old.id, overlap_s=60)


def test_no_key_is_left_when_one_is_rotated_while_its_account_is_deleted(
    services: Services, make: Factory
) -> None:
    account_id = make.account()
    called = name(services, account_id)
    keys = [services.accounts.create_key(called) for _ in range(5)]

    def act(number: int) -> None:
        try:
            if number == 2:
                begin_to_delete(services, account_id)
            else:
                services.accounts.rotate_key(keys[number].id, overlap_s=60)
        except NotFound:
            return

    in_threads(act, [(number,) for number in range(5)])
    assert services.accounts.keys_of(called) == []


def test_the_rest_goes_later_when_the_storage_is_away(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = lived_in(services, make)

    def is_away(*_: object) -> None:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(services.objects, "delete", is_away)
        with pytest.raises(StorageUnavailable):
            services.account_deletion.delete(name(services, account_id))
    services.account_deletion.delete(name(services, account_id))
    assert_gone(services, account_id)


def test_a_job_that_runs_ends_without_a_trace_when_its_account_is_deleted(
    services: Services, make: Factory
) -> None:
    job = make.running(make.account())
    services.account_deletion.delete(name(services, job.account_id))
    assert services.leases.heartbeat(job, 1, 8).is_lost
    assert not services.leases.succeed(job, {**a_result(job), "stored_bytes": 9})
    assert not services.leases.fail(job, StorageUnavailable("away"))
    assert not services.leases.fail_or_requeue(job, StorageUnavailable("away"))
    assert not services.leases.give_back(job)
    assert_gone(services, job.account_id)


def test_what_a_dead_worker_stores_later_is_collected_when_the_account_is_gone(
    services: Services, make: Factory, build: Callable[..., Services]
) -> None:
    account_id = lived_in(services, make)
    services.account_deletion.delete(name(services, account_id))
    key = f"results/{account_id}/job_{'0' * 32}/1/0.png"
    services.objects.put(key, a_picture())
    services.orphans._grace_s = -1  # of any age
    for _ in PREFIXES:
        services.orphans.collect()
    assert objects_of(services, account_id) == []
    let_pass(services.database, services.settings.orphan_grace_hours * 3600 * 11)
    services.account_deletion.forget_old()
    with services.database.reading() as connection:
        assert connection.execute(select(deleted_accounts)).all() == []


def test_nothing_is_left_when_requests_come_in_while_an_account_is_deleted(
    services: Services, make: Factory
) -> None:
    account_id = lived_in(services, make)
    image = make.image(account_id).id
    called = name(services, account_id)

    def submit(number: int) -> str:
        try:
            if number == 4:
                services.account_deletion.delete(called)
            elif number % 2:
                services.jobs.submit(account_id, a_spec(image=image), {})
            else:
                make.image(account_id, is_stored=True)
        except (Unauthorized, LimitExceeded) as error:
            return error.code
        except Exception as error:  # noqa: BLE001 - an image that went first
            return type(error).__name__
        return "done"

    met = in_threads(submit, [(number,) for number in range(12)])
    assert set(met) <= {"done", "unauthorized", "InvalidRequest"}
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(accounts)) == 0
    assert set(rows_that_name(services.database, account_id)) <= REMEMBERS


def test_two_deletions_at_once_end_with_nothing_left(services: Services, make: Factory) -> None:
    account_id = lived_in(services, make)
    called = name(services, account_id)

    def delete(_: int) -> None:
        try:
            services.account_deletion.delete(called)
        except NotFound:
            return  # the other one was first

    in_threads(delete, [(number,) for number in range(3)])
    assert_gone(services, account_id)


@pytest.mark.slow
def test_no_transaction_is_long_when_an_account_has_very_many_rows(services: Services) -> None:
    crowd = Crowd(services.database)
    crowd.accounts(2)
    for account in (0, 1):
        crowd.jobs("succeeded", 4 * SLICE, first=account)
    told: list[int] = []
    called = name(services, name_of(0))
    removed = services.account_deletion.delete(called, lambda so_far: told.append(so_far.jobs))
    assert removed.jobs == 4 * SLICE
    assert max(after - before for before, after in zip([0, *told], told, strict=False)) <= SLICE
    with services.database.reading() as connection:
        others = select(func.count()).where(jobs.c.account_id == name_of(1))
        assert connection.scalar(others) == 4 * SLICE


def test_old_entries_of_the_audit_log_are_forgotten_a_slice_at_a_time(
    services: Services, make: Factory
) -> None:
    act_as(Actor("key", "0" * 16))
    account_id = make.account()
    let_pass(services.database, 91 * 86_400)
    services.accounts.create_key(name(services, account_id))
    assert services.audit_log.forget_old() == 2
    assert [entry.action for entry in services.audit_log.page(account_id, limit=9)] == [
        "key.created"
    ]
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(audit_log)) == 1

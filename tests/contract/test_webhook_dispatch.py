"""Claim, record, give back, give up: a delivery is one worker's at a time, and never lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from shared.edits import JobWebhook
from shared.errors import EndpointDisabled, NotFound
from shared.services import Services, build_services
from shared.settings import Settings
from shared.webhooks.deliveries import Delivery
from shared.webhooks.dispatch import Claim, Outcome, Room
from shared.webhooks.lanes import STEPS
from shared.webhooks.status import Status
from shared.webhooks.tables import webhook_attempts, webhook_deliveries
from tests.crowd import in_processes, in_threads
from tests.factories import HOOK, Factory, a_result, let_pass
from worker.receivers import Receivers

DAY_S = 86_400


def claim(services: Services, room: Room = lambda lane, taken: 100) -> list[Claim]:
    """All that is due, at one walk."""
    claims, after = services.webhooks.dispatch.claim("", room, 1000)
    assert after == ""
    return claims


def outcome(claim: Claim, **changes: Any) -> Outcome:
    """A success, but for the changes."""
    values = {"is_success": True, "is_gone": False, "retry_in_ms": None, "duration_ms": 7,
              "http_status": 204, "answer": "", **changes}  # fmt: skip
    return Outcome(claim=claim, **values)


def failure(claim: Claim, retry_in_ms: int | None = 5000, **changes: Any) -> Outcome:
    values = {"is_success": False, "http_status": 500, "error": "status", **changes}
    return outcome(claim, retry_in_ms=retry_in_ms, **values)


def now(services: Services, claim: Claim) -> Delivery:
    return services.webhooks.deliveries.get(claim.account_id, claim.id)


@pytest.fixture
def account(make: Factory) -> str:
    return make.account()


def test_a_claim_has_all_that_a_message_needs(
    services: Services, make: Factory, account: str
) -> None:
    endpoint, secret = services.webhooks.endpoints.create(
        account, url=HOOK, events=["*"], description="", disabled=False
    )
    job = make.ended(account)
    (found,) = claim(services)
    assert (found.url, found.endpoint_id, found.job) == (HOOK, endpoint.id, job)
    assert (found.attempt, found.tries, found.event_type) == (1, 0, "job.succeeded")
    assert found.secrets == (secret,)
    assert "whsec" not in repr(found)


def test_a_job_s_own_url_is_signed_with_the_secret_of_the_account(
    services: Services, make: Factory, account: str
) -> None:
    make.ended(account, webhook=JobWebhook(HOOK, ("*",)))
    (found,) = claim(services)
    assert found.secrets == (services.webhooks.endpoints.account_secret(account).text,)


def test_two_secrets_sign_until_the_old_one_s_day_is_over(
    services: Services, make: Factory, account: str
) -> None:
    endpoint, old = services.webhooks.endpoints.create(
        account, url=HOOK, events=["*"], description="", disabled=False
    )
    new = services.webhooks.endpoints.rotate(account, endpoint.id)[1]
    make.ended(account)
    (found,) = claim(services)
    assert found.secrets == (new, old)
    let_pass(services.database, DAY_S + 1)
    (found,) = claim(services)
    assert found.secrets == (new,)


def test_the_secret_that_receivers_have_goes_on_signing_when_a_rotation_is_repeated(
    services: Services, make: Factory, account: str
) -> None:
    store = services.webhooks.endpoints
    endpoint, deployed = store.create(
        account, url=HOOK, events=["*"], description="", disabled=False
    )
    of_account = store.account_secret(account).text
    store.rotate(account, endpoint.id)
    store.rotate_account_secret(account)
    newest = store.rotate(account, endpoint.id)[1], store.rotate_account_secret(account).text
    make.ended(account, webhook=JobWebhook(HOOK, ("*",)))
    found = {each.endpoint_id: each.secrets for each in claim(services)}
    assert found == {endpoint.id: (newest[0], deployed), None: (newest[1], of_account)}
    let_pass(services.database, DAY_S + 1)
    last = store.rotate(account, endpoint.id)[1]  # and a day later it is forgotten
    found = {each.endpoint_id: each.secrets for each in claim(services)}
    assert found[endpoint.id] == (last, newest[0])


def test_a_rotation_mends_what_was_sealed_under_a_key_that_was_lost(
    services: Services, make: Factory, account: str, build: Any
) -> None:
    endpoint = make.endpoint(account)
    other = build(secret_key="another")
    secret = other.webhooks.endpoints.rotate(account, endpoint.id)[1]
    make.ended(account)
    (found,) = claim(other)
    assert found.secrets == (secret,)


def test_a_message_goes_to_the_url_that_the_endpoint_has_by_then(
    services: Services, make: Factory, account: str
) -> None:
    endpoint = make.endpoint(account)
    make.ended(account)
    services.webhooks.endpoints.change(account, endpoint.id, url="https://other.example/")
    assert [found.url for found in claim(services)] == ["https://other.example/"]


def test_a_claimed_delivery_is_nobody_else_s_until_its_lease_is_over(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    (first,) = claim(services)
    assert claim(services) == []
    let_pass(services.database, 31)
    (second,) = claim(services)
    assert (second.id, second.event_id, second.attempt, second.tries) == (
        first.id, first.event_id, 2, 0,
    )  # fmt: skip


def test_a_worker_that_was_too_slow_changes_nothing(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    (slow,) = claim(services)
    let_pass(services.database, 31)
    (quick,) = claim(services)
    services.webhooks.dispatch.record([failure(slow, None)])
    services.webhooks.dispatch.give_back([slow])
    assert claim(services) == []
    assert now(services, slow).attempts == ()
    services.webhooks.dispatch.record([outcome(quick)])
    assert now(services, slow).status is Status.SUCCEEDED
    services.webhooks.dispatch.record([failure(slow)])
    assert now(services, slow).status is Status.SUCCEEDED


def test_every_try_is_in_the_log_when_a_delivery_arrives_at_last(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    (first,) = claim(services)
    services.webhooks.dispatch.record([failure(first, answer="no\N{SNOWMAN}", detail="why")])
    assert (now(services, first).status, claim(services)) == (Status.PENDING, [])
    let_pass(services.database, 5.1)
    (second,) = claim(services)
    assert (second.attempt, second.tries) == (2, 1)
    services.webhooks.dispatch.record([outcome(second)])
    log = now(services, first)
    assert (log.status, log.finished_at is not None) == (Status.SUCCEEDED, True)
    assert [(a.attempt, a.http_status, a.error, a.answer, a.detail) for a in log.attempts] == [
        (1, 500, "status", "no\N{SNOWMAN}", "why"),
        (2, 204, None, "", None),
    ]
    assert log.attempts[0].at < log.attempts[1].at
    assert claim(services) == []


def test_texts_of_an_attempt_are_cut_when_they_are_longer_than_the_log_has_room_for(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    long = failure(found, None, answer="a\0b", error="e" * 300, detail="d\0" * 300)
    services.webhooks.dispatch.record([long])
    (attempt,) = now(services, found).attempts
    assert (attempt.answer, attempt.error) == ("a\N{REPLACEMENT CHARACTER}b", "e" * 40)
    assert attempt.detail == "d\N{REPLACEMENT CHARACTER}" * 100


def test_a_delivery_has_failed_when_no_try_is_left(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, None)])
    let_pass(services.database, DAY_S)
    assert (now(services, found).status, claim(services)) == (Status.FAILED, [])


def test_a_delivery_is_due_at_once_when_it_was_given_back(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    services.webhooks.dispatch.give_back(claim(services))
    (again,) = claim(services)
    assert (again.attempt, again.tries) == (2, 0)


def test_a_lane_is_given_what_it_has_room_for_however_much_waits_in_it(
    services: Services, make: Factory, account: str
) -> None:
    first, second = make.endpoint(account), make.endpoint(account)
    image = make.image(account).id
    for _ in range(5):
        make.ended(account, image=image)
    rooms = {f"{account}/{first.id}": 2, f"{account}/{second.id}": 0}
    found = claim(services, lambda lane, taken: rooms[lane])
    assert [each.endpoint_id for each in found] == [first.id] * 2
    whole, after = services.webhooks.dispatch.claim("", lambda lane, taken: 100, 4)
    rest, end = services.webhooks.dispatch.claim(after, lambda lane, taken: 100, 100)
    assert (len(whole), len(rest), end) == (4, 4, "")
    assert {each.endpoint_id for each in rest} == {second.id}


def test_one_account_has_half_of_a_claim_at_most_however_many_lanes_it_has(
    services: Services, make: Factory, account: str
) -> None:
    accounts = [account, make.account()]
    for each, lanes in zip(accounts, (12, 1), strict=True):
        for _ in range(lanes):
            make.endpoint(each)
        make.ended(each)
    receivers = Receivers(total=10, each=4, slow_s=5)
    claims, _ = services.webhooks.dispatch.claim("", receivers.room, receivers.free)
    assert Counter(each.account_id for each in claims) == dict(zip(accounts, (5, 1), strict=True))
    for each in claims:
        receivers.enter(each.lane)
    assert services.webhooks.dispatch.claim("", receivers.room, receivers.free) == ([], "")


def test_a_walk_goes_on_where_the_last_one_ended_when_there_are_many_lanes(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch, account: str
) -> None:
    assert STEPS > 100
    monkeypatch.setattr("shared.webhooks.lanes.STEPS", 3)
    monkeypatch.setattr("shared.webhooks.dispatch.STEPS", 3)
    for _ in range(7):
        make.endpoint(account)
    make.ended(account)
    after, sizes = "", []
    for _ in range(3):
        claims, after = services.webhooks.dispatch.claim(after, lambda lane, taken: 9, 100)
        sizes.append(len(claims))
    assert (sizes, after) == ([3, 3, 1], "")


def test_one_success_ends_a_row_of_failures(
    services: Services, make: Factory, account: str
) -> None:
    endpoint = make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, 0)])
    since = services.webhooks.endpoints.get(account, endpoint.id).failing_since
    assert since is not None
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, 0)])
    assert services.webhooks.endpoints.get(account, endpoint.id).failing_since == since
    (found,) = claim(services)
    services.webhooks.dispatch.record([outcome(found)])
    assert services.webhooks.endpoints.get(account, endpoint.id).failing_since is None


@pytest.mark.parametrize("error", ["secret_unreadable", "send_failed"])
def test_a_fault_of_our_own_says_nothing_about_the_endpoint(
    services: Services, make: Factory, account: str, error: str
) -> None:
    endpoint = make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, 0, http_status=None, error=error)])
    assert services.webhooks.endpoints.get(account, endpoint.id).failing_since is None
    assert now(services, found).attempts[0].error == error


def test_410_disables_the_endpoint_and_the_account_s_others_are_told(
    services: Services, make: Factory, account: str
) -> None:
    gone, other = make.endpoint(account, "job.*"), make.endpoint(account, "endpoint.disabled")
    make.endpoint(account, "job.failed")
    make.endpoint(make.account())
    image = make.image(account).id
    for _ in range(2):
        make.ended(account, image=image)
    found, waiting = claim(services)
    services.webhooks.dispatch.give_back([waiting])
    services.webhooks.dispatch.record([failure(found, None, is_gone=True, http_status=410)])
    after = services.webhooks.endpoints.get(account, gone.id)
    assert (after.disabled_reason, after.disabled_at is not None) == ("gone", True)
    (told,) = claim(services)
    assert (told.event_type, told.endpoint_id) == ("endpoint.disabled", other.id)
    assert told.data is not None
    assert (told.data["id"], told.data["disabled_reason"]) == (gone.id, "gone")
    log = now(services, waiting)  # nothing more is sent to it, and the log says why
    assert log.status is Status.FAILED
    (attempt,) = log.attempts
    assert (attempt.error, attempt.attempt) == ("endpoint_disabled", 2), "after the claim above"


def test_no_number_is_skipped_when_a_delivery_ends_with_its_endpoint(
    services: Services, make: Factory, account: str
) -> None:
    endpoint = make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, 0)])
    services.webhooks.endpoints.change(account, endpoint.id, disabled=True)
    assert claim(services) == []
    log = now(services, found).attempts
    assert [(each.attempt, each.error) for each in log] == [(1, "status"), (2, "endpoint_disabled")]


def test_five_days_of_nothing_but_failures_disable_the_endpoint(
    services: Services, make: Factory, account: str
) -> None:
    endpoint = make.endpoint(account)
    make.ended(account)
    reasons = []
    for _ in range(3):
        (found,) = claim(services)
        services.webhooks.dispatch.record([failure(found, 0)])
        reasons.append(services.webhooks.endpoints.get(account, endpoint.id).disabled_reason)
        let_pass(services.database, 3 * DAY_S)
    assert reasons == [None, None, "failing"]
    enabled = services.webhooks.endpoints.change(account, endpoint.id, disabled=False)
    assert (enabled.disabled_at, enabled.failing_since) == (None, None)


def test_what_could_not_be_sent_for_five_days_has_failed(
    services: Services, make: Factory, account: str
) -> None:
    make.ended(account, webhook=JobWebhook(HOOK, ("*",)))
    (found,) = claim(services)
    services.webhooks.dispatch.give_back([found])
    assert services.webhooks.upkeep.give_up_stale() == 0
    let_pass(services.database, 5 * DAY_S + 1)
    assert services.webhooks.upkeep.give_up_stale() == 1
    log = now(services, found)
    assert (log.status, [a.error for a in log.attempts]) == (Status.FAILED, ["given_up"])


def test_the_log_is_forgotten_when_its_time_is_over(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([outcome(found)])
    let_pass(services.database, 29 * DAY_S)
    assert services.webhooks.upkeep.forget_old() == 0
    let_pass(services.database, 2 * DAY_S)
    assert services.webhooks.upkeep.forget_old() == 1
    with pytest.raises(NotFound):
        now(services, found)
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(webhook_attempts)) == 0


def test_something_is_due_only_while_nobody_has_it(
    services: Services, make: Factory, account: str
) -> None:
    upkeep = services.webhooks.upkeep
    assert not upkeep.is_anything_due()
    make.endpoint(account)
    make.ended(account)
    assert upkeep.is_anything_due()
    claims = claim(services)
    assert not upkeep.is_anything_due()
    services.webhooks.dispatch.record([failure(each, 1000) for each in claims])
    assert not upkeep.is_anything_due()
    let_pass(services.database, 2)
    assert upkeep.is_anything_due()


@pytest.mark.parametrize("end", [outcome, lambda found: failure(found, None)])
def test_a_delivery_that_ended_is_sent_again_under_the_same_id(
    services: Services, make: Factory, account: str, end: Callable[[Claim], Outcome]
) -> None:
    make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([end(found)])
    again = services.webhooks.deliveries.replay(account, found.id)
    assert (again.status, again.finished_at, len(again.attempts)) == (Status.PENDING, None, 1)
    (second,) = claim(services)
    assert (second.event_id, second.attempt, second.tries) == (found.event_id, 2, 0)
    services.webhooks.dispatch.record([outcome(second)])
    assert len(now(services, found).attempts) == 2


def test_a_delivery_that_waits_is_tried_now_and_one_on_its_way_is_left_alone(
    services: Services, make: Factory, account: str
) -> None:
    make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.deliveries.replay(account, found.id)
    assert claim(services) == []
    services.webhooks.dispatch.record([failure(found, 10**7)])
    assert claim(services) == []
    services.webhooks.deliveries.replay(account, found.id)
    assert len(claim(services)) == 1


def test_nothing_is_sent_again_to_an_endpoint_that_is_disabled(
    services: Services, make: Factory, account: str
) -> None:
    endpoint = make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, None)])
    services.webhooks.endpoints.change(account, endpoint.id, disabled=True)
    with pytest.raises(EndpointDisabled):
        services.webhooks.deliveries.replay(account, found.id)
    with pytest.raises(EndpointDisabled):
        services.webhooks.deliveries.replay_failed(account, endpoint.id, 0)


def test_all_that_failed_since_a_time_is_sent_again_and_nothing_else(
    services: Services, make: Factory, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.webhooks.deliveries.SLICE", 2)
    endpoint, other = make.endpoint(account), make.endpoint(account)
    image = make.image(account).id
    make.ended(account, image=image)
    services.webhooks.dispatch.record([failure(each, None) for each in claim(services)])
    let_pass(services.database, 3600)
    jobs = [make.ended(account, image=image) for _ in range(5)]
    claims = claim(services)
    those = [each for each in claims if each.endpoint_id == endpoint.id]
    services.webhooks.dispatch.record([failure(each, None) for each in claims])
    services.webhooks.deliveries.replay(account, those[0].id)
    (arrived,) = claim(services)
    services.webhooks.dispatch.record([outcome(arrived)])
    since = jobs[0].created_at - 1000
    assert services.webhooks.deliveries.replay_failed(account, endpoint.id, since) == (4, False)
    assert {each.endpoint_id for each in claim(services)} == {endpoint.id}
    failed = services.webhooks.deliveries.page(
        account, limit=99, endpoint_id=other.id, status=Status.FAILED
    )
    assert len(failed) == 6


def test_what_was_made_before_a_time_and_failed_after_it_is_sent_again(
    services: Services, make: Factory, account: str
) -> None:
    endpoint = make.endpoint(account)
    make.ended(account)
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, 0)])
    let_pass(services.database, DAY_S)
    (found,) = claim(services)
    services.webhooks.dispatch.record([failure(found, None)])
    failed = now(services, found)
    assert failed.finished_at is not None
    replay = services.webhooks.deliveries.replay_failed
    assert replay(account, endpoint.id, failed.finished_at + 1) == (0, False)
    assert replay(account, endpoint.id, failed.finished_at) == (1, False)


def test_what_waits_after_a_failure_is_tried_now_when_all_that_failed_is_sent_again(
    services: Services, make: Factory, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.webhooks.deliveries.SLICE", 2)
    endpoint, image = make.endpoint(account), make.image(account).id
    make.ended(account, image=image)
    services.webhooks.dispatch.record([failure(each, 10**9) for each in claim(services)])
    let_pass(services.database, 3600)
    since = make.ended(account, image=image).created_at - 1000
    for _ in range(6):
        make.ended(account, image=image)
    going, fresh, *those = claim(services)
    services.webhooks.dispatch.give_back([fresh])
    services.webhooks.dispatch.record([failure(each, 10**7) for each in those])
    replay = services.webhooks.deliveries.replay_failed
    assert replay(account, endpoint.id, since) == (5, False)
    assert replay(account, endpoint.id, since) == (0, False), "they are due already"
    due = claim(services)
    assert {each.id for each in due} == {each.id for each in (fresh, *those)}
    assert {each.tries for each in due} == {0}
    assert now(services, going).attempts == ()
    services.webhooks.dispatch.record([failure(each, 10**7) for each in due])
    assert replay(account, endpoint.id, since) == (6, False)


def test_more_is_left_when_a_rival_holds_what_failed(
    services: Services, make: Factory, account: str
) -> None:
    database = services.database
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    endpoint, image = make.endpoint(account), make.image(account).id
    for _ in range(3):
        make.ended(account, image=image)
    claims = claim(services)
    services.webhooks.dispatch.record([failure(each, None) for each in claims])
    replay = services.webhooks.deliveries.replay_failed
    held = webhook_deliveries.c.id == claims[0].id
    with database.writing() as rival:
        rival.execute(select(webhook_deliveries).where(held).with_for_update())
        assert replay(account, endpoint.id, 0) == (2, True)
    assert replay(account, endpoint.id, 0) == (1, False)


def test_a_page_is_filtered_by_endpoint_job_and_status(
    services: Services, make: Factory, account: str
) -> None:
    first, second = make.endpoint(account), make.endpoint(account)
    image = make.image(account).id
    jobs = [make.ended(account, image=image) for _ in range(3)]
    claims = claim(services)
    services.webhooks.dispatch.record([outcome(claims[0])])
    page = services.webhooks.deliveries.page
    assert len(page(account, limit=99)) == 6
    assert len(page(account, limit=99, endpoint_id=first.id)) == 3
    assert len(page(account, limit=99, job_id=jobs[0].id)) == 2
    assert len(page(account, limit=99, status=Status.PENDING)) == 5
    (found,) = page(account, limit=99, status=Status.SUCCEEDED)
    assert (found.id, len(found.attempts)) == (claims[0].id, 1)
    assert len(page(account, limit=9, endpoint_id=second.id, job_id=jobs[1].id)) == 1
    assert page(make.account(), limit=9) == []
    ids = [each.id for each in page(account, limit=99)]
    assert ids == sorted(ids, reverse=True)
    assert [each.id for each in page(account, limit=2, before=ids[1])] == ids[2:4]


def _send_all(given: dict[str, Any], count: int) -> list[tuple[str, int]]:
    """Claim and record until nothing is due; the deliveries and attempts that were ours."""
    services = build_services(Settings(**given))
    sent = []
    while claims := services.webhooks.dispatch.claim("", lambda lane, taken: 3, count)[0]:
        sent += [(each.id, each.attempt) for each in claims]
        services.webhooks.dispatch.record([outcome(each) for each in claims])
    services.database.close()
    return sent


@pytest.mark.parametrize(
    "in_crowd", [in_threads, pytest.param(in_processes, marks=pytest.mark.slow)]
)
def test_each_delivery_is_sent_once_when_many_send_at_once(
    services: Services, make: Factory, account: str, in_crowd: Any
) -> None:
    for _ in range(4):
        make.endpoint(account)
    image = make.image(account).id
    for _ in range(15):
        make.ended(account, image=image)
    given = services.settings.model_dump()
    sent = in_crowd(_send_all, [(given, 5)] * 4)
    counted = Counter(each for those in sent for each in those)
    # One that passes over what a rival holds may stop early: the rest is due all the same.
    counted.update(_send_all(given, 100))
    assert len(counted) == 60
    assert set(counted.values()) == {1}
    assert {attempt for _, attempt in counted} == {1}


def test_nobody_waits_for_ever_when_endpoints_are_deleted_while_jobs_end_and_messages_go_out(
    services: Services, make: Factory, account: str
) -> None:
    image = make.image(account).id

    def end_jobs() -> None:
        for _ in range(10):
            job = make.job(account, image=image)
            claimed = services.leases.claim_next("warp", "worker")
            if claimed is not None:
                assert services.leases.succeed(claimed, a_result(claimed)), job.id

    def come_and_go() -> None:
        for _ in range(10):
            endpoint = make.endpoint(account)
            services.webhooks.endpoints.change(account, endpoint.id, description="x")
            services.webhooks.endpoints.delete(account, endpoint.id)

    def send() -> None:
        for _ in range(20):
            claims, _ = services.webhooks.dispatch.claim("", lambda lane, taken: 9, 50)
            services.webhooks.dispatch.record([failure(each, 0) for each in claims])

    in_threads(lambda call: call(), [(end_jobs,), (come_and_go,), (send,), (send,)])

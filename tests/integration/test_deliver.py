"""From a job's end to the receiver and into the log, over real sockets, in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook, WebhookVerificationError

from shared.accounts.tables import accounts
from shared.edits import JobWebhook
from shared.errors import DatabaseUnavailable
from shared.services import Services
from shared.webhooks.deliveries import Delivery
from shared.webhooks.dispatch import Claim, Dispatch, Outcome
from shared.webhooks.status import Status
from tests.crew import wait_until
from tests.factories import Factory, let_pass
from tests.receiver import HANG, RESET, Message, Receiver, Reply
from worker.deliver import Deliverer
from worker.send import Sender
from worker.watch import Drain

pytestmark = pytest.mark.slow

HERE: dict[str, Any] = {
    "webhook_allow_http": True,
    "webhook_ports": ("*",),
    "webhook_networks": ("127.0.0.0/8",),
    "webhook_time_scale": 0.00001,
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def services(build: Callable[..., Services]) -> Services:
    return build(**HERE)


@pytest.fixture
def account(make: Factory) -> str:
    return make.account()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def work_off(services: Services, limit_s: float = 20) -> list[Delivery]:
    """Deliver until nothing waits; the newest deliveries."""
    deliverer, end_s = Deliverer(services, Drain(), linger_s=0), time.monotonic() + limit_s
    while time.monotonic() < end_s:
        deliverer.deliver()
        found = _log(services)
        if all(each.status is not Status.PENDING for each in found):
            return found
    raise AssertionError(_log(services))


def _log(services: Services) -> list[Delivery]:
    with services.database.reading() as connection:
        ids = connection.scalars(select(accounts.c.id)).all()
    return [each for one in ids for each in services.webhooks.deliveries.page(one, limit=200)]


def test_a_receiver_that_knows_only_the_standard_accepts_what_is_sent(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    _, secret = services.webhooks.endpoints.create(
        account, url=receiver.url(), events=["*"], description="", disabled=False
    )
    job = make.ended(account, metadata={"order": "7"})
    (delivery,) = work_off(services)
    (message,) = receiver.received
    told = Webhook(secret).verify(message.body, dict(message.headers))
    assert (told["type"], told["data"]["id"], message.id) == (
        "job.succeeded", job.id, delivery.event_id,
    )  # fmt: skip
    assert told["data"]["metadata"] == {"order": "7"}
    assert "request" not in told["data"]
    with pytest.raises(WebhookVerificationError):
        Webhook(services.webhooks.endpoints.account_secret(account).text).verify(
            message.body, dict(message.headers)
        )
    assert (delivery.status, [a.http_status for a in delivery.attempts]) == (
        Status.SUCCEEDED, [204],
    )  # fmt: skip


def test_a_job_s_own_url_is_signed_with_the_account_s_secret(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    make.ended(account, webhook=JobWebhook(receiver.url("/own"), ("job.*",)))
    work_off(services)
    (message,) = receiver.received
    secret = services.webhooks.endpoints.account_secret(account).text
    assert Webhook(secret).verify(message.body, dict(message.headers))["type"] == "job.succeeded"


def test_a_message_is_tried_again_under_one_id_until_it_arrives(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    replies = [Reply(500, body=b"no"), Reply(302, {"location": receiver.url("/else")}), RESET,
               Reply(429, {"retry-after": "1"}), Reply(200, body=b"yes")]  # fmt: skip
    receiver.behave = lambda message: replies[message.number]
    make.endpoint(account, url=receiver.url("/hook"))
    make.ended(account)
    (delivery,) = work_off(services)
    assert {message.id for message in receiver.received} == {delivery.event_id}
    assert {message.path for message in receiver.received} == {"/hook"}
    assert [(a.http_status, a.error, a.answer) for a in delivery.attempts] == [
        (500, "status", "no"), (302, "redirect", ""), (None, "connection_broken", None),
        (429, "status", ""), (200, None, "yes"),
    ]  # fmt: skip
    signatures = {message.headers["webhook-signature"] for message in receiver.received}
    stamps = {message.headers["webhook-timestamp"] for message in receiver.received}
    assert len(signatures) == len(stamps)  # signed anew for each moment


def test_ten_tries_are_all_when_a_receiver_always_says_no(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    receiver.behave = lambda message: Reply(503)
    make.ended(account, webhook=JobWebhook(receiver.url(), ("*",)))
    (delivery,) = work_off(services)
    assert (delivery.status, len(receiver.received)) == (Status.FAILED, 10)


def test_410_ends_it_at_once_and_disables_the_endpoint(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    receiver.behave = lambda message: Reply(410 if message.path == "/gone" else 200)
    gone = make.endpoint(account, "job.*", url=receiver.url("/gone"))
    make.endpoint(account, "endpoint.*", url=receiver.url("/other"))
    make.ended(account)
    log = work_off(services)
    assert {(each.event_type, each.status) for each in log} == {
        ("job.succeeded", Status.FAILED), ("endpoint.disabled", Status.SUCCEEDED),
    }  # fmt: skip
    assert receiver.received[-1].json["data"]["id"] == gone.id
    (told,) = [each for each in log if each.event_type == "job.succeeded"]
    assert [(attempt.http_status, attempt.error) for attempt in told.attempts] == [(410, "gone")]
    assert services.webhooks.endpoints.get(account, gone.id).disabled_reason == "gone"
    (entry,) = services.audit_log.page(account, limit=9, action="webhook_endpoint.disabled")
    assert (entry.subject, entry.actor, entry.details) == (gone.id, "service", {"reason": "gone"})


def test_410_ends_a_job_s_own_url_after_one_try(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    receiver.behave = lambda message: Reply(410)
    make.ended(account, webhook=JobWebhook(receiver.url(), ("*",)))
    (delivery,) = work_off(services)
    assert (delivery.status, len(receiver.received)) == (Status.FAILED, 1)
    assert [attempt.http_status for attempt in delivery.attempts] == [410]


def test_410_of_the_url_that_an_endpoint_had_before_does_not_disable_it(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    endpoints, moved = services.webhooks.endpoints, []

    def behave(message: Message) -> Reply:
        if message.path != "/old":
            return Reply(200)
        if not moved:  # its owner changes it while the message is on its way
            moved.append(endpoints.change(account, endpoint.id, url=receiver.url("/new")))
        return Reply(410)

    receiver.behave = behave
    endpoint = make.endpoint(account, url=receiver.url("/old"))
    make.ended(account)
    work_off(services)
    assert moved
    assert endpoints.get(account, endpoint.id).disabled_at is None


def test_a_refused_address_is_in_the_log_with_its_reason(
    services: Services, make: Factory, account: str, build: Callable[..., Services]
) -> None:
    make.endpoint(account, url="http://127.0.0.1:1/")
    make.ended(account)
    strict = build(**HERE | {"webhook_networks": ()})
    Deliverer(strict, Drain(), linger_s=0).deliver()
    (delivery,) = _log(services)
    assert [attempt.error for attempt in delivery.attempts][:1] == ["webhook_address_refused"]


def test_a_secret_that_cannot_be_read_is_in_the_log(
    services: Services, make: Factory, account: str, receiver: Receiver, build: Any
) -> None:
    endpoint = make.endpoint(account, url=receiver.url())
    make.ended(account)
    Deliverer(build(**HERE, secret_key="another"), Drain(), linger_s=0).deliver()
    assert _log(services)[0].attempts[0].error == "secret_unreadable"
    assert receiver.received == []
    assert services.webhooks.endpoints.get(account, endpoint.id).disabled_at is None


def test_receivers_that_hang_delay_nobody_else(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    receiver.behave = lambda message: HANG if message.path == "/hang" else Reply()
    for number in range(40):
        make.endpoint(account, url=receiver.url("/hang" if number < 4 else "/ok"))
    image = make.image(account).id
    for _ in range(5):
        make.ended(account, image=image)
    drain = Drain()
    thread = threading.Thread(target=Deliverer(services, drain, linger_s=0).deliver)
    thread.start()

    def arrived() -> int:
        return sum(message.path == "/ok" for message in receiver.received)

    def written() -> int:
        return sum(each.status is Status.SUCCEEDED for each in _log(services))

    wait_until(lambda: arrived() == written() == 36 * 5)
    assert not [each for each in _log(services) if each.attempts and each.attempts[0].error]
    drain.begin(0)  # and nobody needs to wait for the four
    thread.join(5)
    assert not thread.is_alive()
    left = [each for each in _log(services) if each.status is Status.PENDING]
    assert len(left) == 4 * 5
    claims, _ = services.webhooks.dispatch.claim("", lambda lane, taken: 100, 100)
    assert len(claims) == len(left)  # given back: others have them at once


def test_more_is_sent_while_somebody_is_at_it(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    go = threading.Event()

    def behave(message: Message) -> Reply:
        return Reply(delay_s=0 if go.is_set() or message.number else 1.0)

    receiver.behave = behave
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    deliverer = Deliverer(services, Drain(), linger_s=0)
    thread = threading.Thread(target=deliverer.deliver)
    thread.start()
    receiver.wait_for(1)
    make.ended(account)
    deliverer.deliver()  # returns at once: the other thread is told
    receiver.wait_for(2, limit_s=0.9)
    thread.join(10)
    assert [each.status for each in _log(services)] == [Status.SUCCEEDED] * 2


def test_an_outcome_is_written_once_the_database_is_back(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    class Away(Dispatch):
        times = 2

        def record(self, outcomes: Sequence[Outcome]) -> None:
            if self.times:
                self.times -= 1
                raise DatabaseUnavailable("away")
            super().record(outcomes)

    services.webhooks.dispatch.__class__ = Away
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    Deliverer(services, Drain(), linger_s=0).deliver()
    assert len(receiver.received) == 1
    assert [each.status for each in _log(services)] == [Status.SUCCEEDED]


def test_who_has_nothing_to_do_looks_for_a_while_whether_more_comes(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    thread = threading.Thread(target=Deliverer(services, Drain(), linger_s=2).deliver)
    thread.start()
    receiver.wait_for(1)
    make.ended(account)  # and nobody says so
    receiver.wait_for(2, limit_s=1.9)
    thread.join(10)
    assert not thread.is_alive()


def test_one_message_that_cannot_be_made_stops_no_other(
    services: Services, make: Factory, account: str, receiver: Receiver, monkeypatch: Any
) -> None:
    make.endpoint(account, url=receiver.url())
    bad, good = make.ended(account), make.ended(account)
    real = Dispatch.claim

    def spoil(self: Dispatch, *given: Any) -> Any:
        claims, after = real(self, *given)
        spoilt = [
            replace(c, event_at=10**30) if c.job and c.job.id == bad.id else c for c in claims
        ]
        return spoilt, after

    monkeypatch.setattr(Dispatch, "claim", spoil)
    Deliverer(services, Drain(), linger_s=0).deliver()
    assert [message.json["data"]["id"] for message in receiver.received] == [good.id]
    log = {each.job_id: [a.error for a in each.attempts] for each in _log(services)}
    assert log[good.id] == [None]
    assert log[bad.id][0] == "send_failed"


def test_an_answer_with_a_date_beyond_all_years_is_tried_again(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    far = {"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}
    receiver.behave = lambda message: Reply(204 if message.number else 503, far)
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    (delivery,) = work_off(services)
    assert [each.http_status for each in delivery.attempts] == [503, 204]


def test_an_answer_that_nobody_can_judge_is_a_try_that_failed(
    services: Services, make: Factory, account: str, receiver: Receiver, monkeypatch: Any
) -> None:
    def overflow(*_: object) -> float:
        monkeypatch.undo()
        raise OverflowError

    monkeypatch.setattr("worker.send.retry_after_s", overflow)
    receiver.behave = lambda message: Reply(204 if message.number else 503)
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    (delivery,) = work_off(services)
    assert [each.error for each in delivery.attempts] == ["send_failed", None]


def test_a_round_that_breaks_off_takes_no_room_from_the_next(
    make: Factory, account: str, receiver: Receiver, build: Callable[..., Services]
) -> None:
    class RaisesOnce(Sender):
        times = 1

        async def send(self, claim: Claim) -> Outcome:
            if self.times:
                self.times -= 1
                raise RuntimeError("nobody foresaw it")
            return await super().send(claim)

    services = build(**HERE, webhook_concurrency=1)
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    deliverer = Deliverer(services, Drain(), RaisesOnce(services), linger_s=0)
    deliverer.deliver()
    assert (receiver.received, _log(services)[0].attempts) == ([], ())
    let_pass(services.database, 31)  # the claim runs out
    deliverer.deliver()
    assert [each.status for each in _log(services)] == [Status.SUCCEEDED]


def test_an_outcome_that_cannot_be_written_takes_no_other_with_it(
    services: Services, make: Factory, account: str, receiver: Receiver
) -> None:
    endpoint = make.endpoint(account, url=receiver.url("/poison"))
    make.endpoint(account, url=receiver.url("/good"))

    class Refuses(Dispatch):
        def record(self, outcomes: Sequence[Outcome]) -> None:
            if any(outcome.claim.endpoint_id == endpoint.id for outcome in outcomes):
                raise ValueError("nobody foresaw it")
            super().record(outcomes)

    services.webhooks.dispatch.__class__ = Refuses
    make.ended(account)
    Deliverer(services, Drain(), linger_s=0).deliver()
    log = {each.endpoint_id == endpoint.id: each.status for each in _log(services)}
    assert log == {True: Status.PENDING, False: Status.SUCCEEDED}
    assert len(receiver.received) == 2

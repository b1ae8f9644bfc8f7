"""The worker that sends webhooks dies, or is told to end, between any two steps of a delivery."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from shared.services import Services
from shared.webhooks.deliveries import Delivery
from shared.webhooks.status import Status
from tests.crew import Crew, wait_until
from tests.factories import Factory, let_pass
from tests.integration.test_deliver import HERE
from tests.receiver import HANG, Receiver, Reply
from worker.sweep import sweep

pytestmark = pytest.mark.slow

LEASE_S = 31


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The stores are tested on both kinds (`tests/contract`)."""
    return sqlite_url


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    return start_crew(**HERE | {"webhook_time_scale": 1.0}, drain_s=0.5, sweep_s=0.2)


@pytest.fixture
def services(crew: Crew) -> Services:
    return crew.services


@pytest.fixture
def account(make: Factory) -> str:
    return make.account()


def log_of(services: Services, account: str) -> list[Delivery]:
    return services.webhooks.deliveries.page(account, limit=100)


def _is_delivered(services: Services, account: str) -> bool:
    return all(each.status is Status.SUCCEEDED for each in log_of(services, account))


@pytest.mark.parametrize(
    ("moment", "arrivals"),
    [("delivery claimed", 1), ("delivery posted", 2), ("delivery recorded", 1)],
)
def test_a_message_arrives_under_one_id_when_its_worker_dies(
    crew: Crew, make: Factory, account: str, receiver: Receiver, moment: str, arrivals: int
) -> None:
    make.endpoint(account, url=receiver.url())
    make.ended(account)  # the wake-up follows the commit
    assert crew.worker("--at", moment, queues="webhooks").wait_for_death() == 9
    is_done = moment == "delivery recorded"
    assert _is_delivered(crew.services, account) is is_done
    let_pass(crew.services.database, LEASE_S)
    crew.worker(queues="webhooks")
    sweep(crew.services)  # finds that it is due again
    wait_until(lambda: _is_delivered(crew.services, account), said=crew.said())
    ids = [message.id for message in receiver.received]
    assert (len(ids), len(set(ids))) == (arrivals, 1)
    assert len(log_of(crew.services, account)[0].attempts) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_in_time_when_a_receiver_hangs(
    crew: Crew, make: Factory, account: str, receiver: Receiver, number: int
) -> None:
    receiver.behave = lambda message: HANG
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    worker = crew.worker(queues="webhooks")
    worker.wait_for_ready()
    receiver.wait_for(1)
    worker.signal(number)
    assert worker.wait_for_death(8) == 0
    receiver.behave = lambda message: Reply()
    crew.services.wakeups.send_deliverer()
    crew.worker(queues="webhooks")
    wait_until(lambda: _is_delivered(crew.services, account), said=crew.said())
    assert len({message.id for message in receiver.received}) == 1


def test_what_is_promised_arrives_when_redis_was_away(
    crew: Crew, make: Factory, account: str, receiver: Receiver, broker: object
) -> None:
    make.endpoint(account, url=receiver.url())
    make.ended(account)
    broker.flush()  # type: ignore[attr-defined]  # the wake-up is lost
    crew.worker(queues="webhooks,maintenance")
    crew.start("worker", "beat")
    wait_until(lambda: _is_delivered(crew.services, account), said=crew.said())
    assert len(receiver.received) == 1


def test_a_worker_does_not_start_when_it_could_not_open_the_secrets(
    start_crew: Callable[..., Crew],
) -> None:
    crew = start_crew(secret_key="")
    worker = crew.start("worker", "run", "--queues", "webhooks")
    assert worker.wait_for_death() == 2
    assert worker.log.read_text().startswith("TOWLINE_SECRET_KEY: ")

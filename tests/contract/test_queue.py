"""Wake-ups on a real Valkey: a bounded window, JSON alone, and no waiting for one that is away."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from shared import queue
from shared.queue import RUN_JOBS, Wakeups, working_app
from shared.services import Services
from tests.broker import Valkey, free_port
from tests.crew import wait_until
from tests.factories import Factory
from worker.sweep import top_up_wakeups

WINDOW = 5
SOON_S = 0.3  #: of the 0.25 that a send may take
SLACK_S = 1.0  #: for a machine that others use too; an endless wait is what is looked for


@pytest.fixture
def wakeups(broker: Valkey) -> Wakeups:
    return Wakeups(broker.url, window=WINDOW)


def test_one_message_waits_for_each_send_until_the_window_is_full(
    wakeups: Wakeups, broker: Valkey
) -> None:
    for n in range(1, 9):
        wakeups.send("warp")
        assert wakeups.waiting("warp") == len(broker.messages("warp")) == min(n, WINDOW)
    assert wakeups.waiting("another") == 0


def test_all_that_is_asked_for_is_sent_soon_by_many_threads_and_never_beyond_the_window(
    broker: Valkey,
) -> None:
    wakeups = Wakeups(broker.url, window=50)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(wakeups.send_soon, ["warp"] * 40 + ["another"]))
    wait_until(lambda: wakeups.waiting("warp") == 40 and wakeups.waiting("another") == 1)
    for _ in range(40):
        wakeups.send_soon("warp")
    wait_until(lambda: wakeups.waiting("warp") == 50)
    wakeups.send_soon("another")
    wait_until(lambda: wakeups.waiting("another") == 2)
    assert wakeups.waiting("warp") == 50


def test_another_thread_sends_when_the_first_is_gone(broker: Valkey) -> None:
    wakeups = Wakeups(broker.url, window=WINDOW)
    wakeups._sender = threading.Thread()  # as after a fork: there, and not alive
    wakeups.send_soon("warp")
    wait_until(lambda: wakeups.waiting("warp") == 1)


def test_what_is_sent_soon_is_sent_again_once_the_broker_is_back(broker: Valkey) -> None:
    wakeups = Wakeups(broker.url, window=WINDOW)
    broker.kill()
    assert _seconds(lambda: wakeups.send_soon("warp")) < SOON_S
    broker.ensure()

    def sends() -> bool:
        wakeups.send_soon("warp")
        return wakeups.waiting("warp") > 0

    wait_until(sends)


@pytest.mark.parametrize(
    ("there", "due", "then"),
    [(0, 0, 0), (0, 3, 3), (0, 50, WINDOW), (2, 3, 3), (3, 2, 3), (WINDOW, 50, WINDOW)],
)
def test_just_the_missing_messages_are_sent_when_they_are_topped_up(
    wakeups: Wakeups, there: int, due: int, then: int
) -> None:
    for _ in range(there):
        wakeups.send("warp")
    wakeups.top_up("warp", due)
    assert wakeups.waiting("warp") == then


def test_a_message_is_json_and_names_the_engine_alone(wakeups: Wakeups, broker: Valkey) -> None:
    wakeups.send("warp")
    envelope = json.loads(broker.messages("warp")[0])
    assert envelope["content-type"] == "application/json"
    assert envelope["headers"]["task"] == "towline.run_jobs"
    assert envelope["headers"]["argsrepr"] == "['warp']"


def test_a_message_is_what_celery_itself_would_send(wakeups: Wakeups, broker: Valkey) -> None:
    wakeups.send("warp")
    app = working_app(broker.url)
    app.send_task(RUN_JOBS, args=["warp"], queue="warp")
    theirs, ours = (json.loads(message) for message in broker.messages("warp"))
    for envelope in (theirs, ours):
        headers, properties = envelope["headers"], envelope["properties"]
        assert headers["id"] == headers["root_id"] == properties.pop("correlation_id")
        for fresh in ("id", "root_id", "origin"):
            headers.pop(fresh)
        for fresh in ("delivery_tag", "reply_to"):
            assert properties.pop(fresh)
    assert ours == theirs


def test_no_two_messages_have_an_id_or_a_delivery_tag_in_common(
    wakeups: Wakeups, broker: Valkey
) -> None:
    wakeups.top_up("warp", WINDOW)
    those = [json.loads(message) for message in broker.messages("warp")]
    assert len({message["headers"]["id"] for message in those}) == WINDOW
    assert len({message["properties"]["delivery_tag"] for message in those}) == WINDOW


def test_messages_are_sent_when_the_broker_has_lost_its_scripts(
    wakeups: Wakeups, broker: Valkey
) -> None:
    wakeups.send("warp")
    with broker.client() as client:
        client.script_flush()
    wakeups.send("warp")
    assert wakeups.waiting("warp") == 2


def test_every_engine_that_has_due_jobs_is_topped_up_by_the_sweep(
    build: Callable[..., Services], broker: Valkey
) -> None:
    services = build(redis_url=broker.url, wakeup_window=WINDOW)
    make = Factory(services)
    account = make.account()
    image = make.image(account).id
    for _ in range(8):
        make.job(account, image=image)
    make.job(account, image=image, engine="another")
    for _ in range(2):
        top_up_wakeups(services)
        assert services.wakeups.waiting("warp") == WINDOW
        assert services.wakeups.waiting("another") == 1
        broker.flush()


def _seconds(call: Callable[[], object]) -> float:
    begun_s = time.monotonic()
    call()
    return time.monotonic() - begun_s


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


def test_a_send_takes_no_time_and_raises_nothing_when_the_broker_is_down() -> None:
    wakeups = Wakeups(f"redis://127.0.0.1:{free_port()}/0", window=WINDOW)
    assert _seconds(lambda: wakeups.send("warp")) < SOON_S + SLACK_S
    assert _seconds(lambda: wakeups.top_up("warp", 5)) < 0.1


def test_a_send_gives_up_soon_and_the_next_at_once_when_the_broker_does_not_answer(
    deaf_port: int,
) -> None:
    wakeups = Wakeups(f"redis://127.0.0.1:{deaf_port}/0", window=WINDOW)
    assert _seconds(lambda: wakeups.send("warp")) < SOON_S + SLACK_S
    assert _seconds(lambda: [wakeups.send("warp") for _ in range(100)]) < 0.2


class Flaky:
    """Passes connections on to a broker, until it goes deaf or closes them all."""

    def __init__(self, port: int) -> None:
        self._target, self._is_deaf = port, False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self._target))
            self._kept += [client, broker]
            for source, sink in ((client, broker), (broker, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._is_deaf:
                    sink.sendall(data)
        except OSError:
            pass

    def go_deaf(self) -> None:
        self._is_deaf = True

    def close(self) -> None:
        for connection in (self._server, *self._kept):
            with suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@pytest.mark.parametrize("go", [Flaky.go_deaf, Flaky.close])
def test_a_send_gives_up_soon_when_the_broker_goes_with_a_connection_open(
    broker: Valkey, go: Callable[[Flaky], None]
) -> None:
    flaky = Flaky(broker.port)
    wakeups = Wakeups(broker.url.replace(str(broker.port), str(flaky.port)), window=WINDOW)
    wakeups.send("warp")
    assert len(broker.messages("warp")) == 1
    go(flaky)
    assert _seconds(lambda: wakeups.send("warp")) < SOON_S + SLACK_S
    flaky.close()
    assert len(broker.messages("warp")) == 1


def test_messages_are_sent_again_when_the_broker_is_back(
    wakeups: Wakeups, broker: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "BREAK_S", 0.05)
    wakeups.send("warp")
    assert wakeups.waiting("warp") == 1
    broker.kill()
    for _ in range(3):
        assert _seconds(lambda: wakeups.send("warp")) < SOON_S + SLACK_S
        time.sleep(0.06)
    broker.start()
    limit_s = time.monotonic() + 10
    while not broker.messages("warp"):
        assert time.monotonic() < limit_s
        wakeups.send("warp")
        time.sleep(0.02)
    assert len(broker.messages("warp")) == 1


def test_the_window_is_not_passed_when_many_send_at_once(
    wakeups: Wakeups,
) -> None:
    threads = [threading.Thread(target=wakeups.send, args=("warp",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert wakeups.waiting("warp") == WINDOW


def test_a_ping_says_whether_the_broker_answers(wakeups: Wakeups, broker: Valkey) -> None:
    import redis

    wakeups.ping()
    broker.kill()
    with pytest.raises(redis.RedisError):
        wakeups.ping()


def test_messages_that_are_left_over_go_when_nothing_is_due(
    wakeups: Wakeups, broker: Valkey
) -> None:
    wakeups.top_up("warp", 3)
    assert wakeups.clear("warp")
    assert wakeups.waiting("warp") == 0
    assert not wakeups.clear("warp")
    broker.kill()
    assert not wakeups.clear("warp")


def test_nothing_is_left_to_give_back_when_the_connection_breaks_after_a_message_was_taken(
    wakeups: Wakeups, broker: Valkey
) -> None:
    """Giving back needs a connection, and a worker that could not ended with `AttributeError`."""
    wakeups.send("warp")
    app = working_app(broker.url)
    taken: list[Any] = []
    with app.connection_for_read() as connection:
        consumer = app.amqp.TaskConsumer(connection, queues=[app.amqp.queues["warp"]])
        consumer.on_message = taken.append
        consumer.consume()
        connection.drain_events(timeout=5)
        assert len(taken) == 1
        with broker.client() as client:
            assert client.keys("unacked*") == []
        broker.kill()
        connection.transport.client = None  # as Celery leaves it when it was interrupted
        connection.close()

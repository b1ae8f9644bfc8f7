"""The API and beat that are told to end: requests may end first, a second signal is quicker."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from tests.broker import free_port
from tests.crew import Crew, Member, wait_until
from tests.factories import a_picture

pytestmark = [
    pytest.mark.slow,
    # How a process ends has nothing to do with the kind of database.
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

LONG_S = 60.0
QUICK_S = 10.0  #: far below `LONG_S`; a second or two on a quiet machine
SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Api:
    """A real API process, and one request to it that is half sent."""

    def __init__(self, crew: Crew) -> None:
        self.port = crew.services.settings.port
        self._key = crew.services.accounts.create_key("mine").text
        self.process: Member = crew.start("api", "serve")
        wait_until(self._answers, said=crew.said())

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/livez").is_success
        return False

    def takes_connections(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), LONG_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def begin_upload(self) -> tuple[socket.socket, bytes]:
        """The connection, and what is missing of the request."""
        body = a_picture()
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=LONG_S)
        connection.sendall(
            f"POST /v1/images HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[:100]
        )
        time.sleep(0.5)  # until a thread reads it: nothing tells
        return connection, body[100:]


@pytest.fixture
def start_api(start_crew: Callable[..., Crew]) -> Callable[[], Api]:
    return lambda: Api(start_crew(port=free_port(), drain_s=LONG_S))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_request_may_end_when_the_api_is_told_to(
    start_api: Callable[[], Api], number: int
) -> None:
    api = start_api()
    connection, rest = api.begin_upload()
    api.process.signal(number)
    time.sleep(0.5)
    assert api.process.process.poll() is None
    with connection:
        connection.sendall(rest)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")
    assert api.process.wait_for_death() == 0


@pytest.mark.parametrize("second", SIGNALS)
def test_the_api_ends_at_once_when_it_is_told_twice(
    start_api: Callable[[], Api], second: int
) -> None:
    api = start_api()
    connection, _ = api.begin_upload()
    with connection:
        api.process.signal(signal.SIGTERM)
        time.sleep(0.5)
        api.process.signal(second)
        assert api.process.wait_for_death(QUICK_S) == 0


def test_the_api_takes_requests_and_says_that_it_ends_until_its_notice_is_over(
    start_crew: Callable[..., Crew],
) -> None:
    api = Api(start_crew(port=free_port(), drain_s=LONG_S, drain_notice_s=15, api_processes=2))
    ask = f"http://127.0.0.1:{api.port}"
    assert httpx.get(f"{ask}/livez").json() == {"status": "ok"}
    api.process.signal(signal.SIGTERM)
    wait_until(lambda: httpx.get(f"{ask}/livez").json() == {"status": "draining"})
    for _ in range(4):  # whichever process answers
        assert httpx.get(f"{ask}/livez").json() == {"status": "draining"}
        ready = httpx.get(f"{ask}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    connection, rest = api.begin_upload()
    with connection:
        connection.sendall(rest)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")
    assert api.process.wait_for_death() == 0


def test_the_api_ends_at_once_when_it_is_told_twice_while_it_gives_notice(
    start_crew: Callable[..., Crew],
) -> None:
    api = Api(start_crew(port=free_port(), drain_notice_s=LONG_S))
    api.process.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert api.process.process.poll() is None
    api.process.signal(signal.SIGTERM)
    assert api.process.wait_for_death(QUICK_S) == 0


def test_those_who_have_knocked_are_answered_when_the_api_is_told_to_end(
    start_api: Callable[[], Api],
) -> None:
    """They knock while it is frozen, so that the signal is there as early as they are."""
    api = start_api()
    members = [api.process.process.pid, *_children(api.process.process.pid)]
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
    knocking = [socket.create_connection(("127.0.0.1", api.port), LONG_S) for _ in range(20)]
    for connection in knocking:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
    for pid in reversed(members):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
    for connection in knocking:
        with connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert api.process.wait_for_death() == 0


def test_others_are_refused_at_once_while_the_last_requests_end(
    start_api: Callable[[], Api],
) -> None:
    """A proxy then asks another; one who is let wait for nothing is cut off at last."""
    api = start_api()
    connection, rest = api.begin_upload()
    with connection:
        api.process.signal(signal.SIGTERM)
        wait_until(lambda: not api.takes_connections())
        connection.sendall(rest)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")
    assert api.process.wait_for_death() == 0


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.parametrize("broker_is", ["there", "deaf", "away"])
def test_beat_ends_soon_when_it_is_told_to(start_crew: Callable[..., Crew], broker_is: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        ports = {"deaf": deaf.getsockname()[1], "away": free_port()}
        crew = start_crew(sweep_s=0.2)
        if broker_is in ports:
            crew.redis_url = f"redis://127.0.0.1:{ports[broker_is]}/0"
        beat = crew.start("worker", "beat")
        wait_until(lambda: "beat: Starting" in beat.log.read_text(), said=beat.log.read_text())
        time.sleep(0.5)
        beat.signal(signal.SIGTERM)
        beat.wait_for_death(QUICK_S)

"""The script of faults, and the links that go bad."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

import pytest

from tests.chaos.faults import ALL, Fault, script
from tests.chaos.network import Link, Network

LIMIT_S = 5.0


def _script(seed: int, length: int = 600) -> list[Fault]:
    return list(islice(script(seed, every_s=2.0, lease_s=10.0), length))


def test_a_script_is_the_same_when_the_seed_is() -> None:
    assert _script(7) == _script(7)
    assert _script(7) != _script(8)


def test_a_script_hits_everything_in_time_and_nothing_twice_at_once() -> None:
    faults = _script(1)
    assert {fault.target for fault in faults if fault.kind == "kill"} == set(ALL)
    assert {fault.target for fault in faults if fault.kind == "freeze"} == set(ALL)
    assert [fault.at_s for fault in faults] == [2.0 * (n + 1) for n in range(600)]
    over: dict[str, float] = {}
    for fault in faults:
        for name in fault.touches:
            assert over.get(name, 0.0) <= fault.at_s
            over[name] = fault.at_s + fault.lasts_s


@contextmanager
def _echo() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(1000):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


def _call(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(1000)


def test_a_link_holds_what_is_sent_and_lets_it_go_when_it_heals(network: Network) -> None:
    with _echo() as target:
        port = network.connect("worker", "server", target)
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            assert _call(connection, b"one") == b"one"
            network.tell(Link.hold, server="server")
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                _call(connection, b"two")
            network.tell(Link.heal, process="worker", server="server")
            connection.settimeout(LIMIT_S)
            assert connection.recv(1000) == b"two"


def test_a_link_ends_its_connections_when_it_is_reset(network: Network) -> None:
    with _echo() as target:
        port = network.connect("worker", "server", target)
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            assert _call(connection, b"one") == b"one"
            network.tell(Link.reset, server="server")
            with pytest.raises(ConnectionResetError):
                _call(connection, b"two")


def test_a_link_answers_503_when_it_refuses(network: Network) -> None:
    with _echo() as target:
        port = network.connect("worker", "s3", target)
        network.tell(Link.refuse, server="s3")
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            assert _call(connection, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503 ")
        network.tell(Link.heal, server="s3")
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            assert _call(connection, b"one") == b"one"

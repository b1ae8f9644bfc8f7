"""The API under gunicorn, with the services of a test: `Server`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.broker import free_port
from tests.crew import REPOSITORY, wait_until

if TYPE_CHECKING:
    from shared.services import Services


class Server:
    """`python -m api serve`: a master and its processes, in a group of their own."""

    def __init__(self, services: Services, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"api-{self.port}.log"
        given = services.settings
        chosen = {
            "home": given.home,
            "database_url": given.database,
            "redis_url": given.redis_url.get_secret_value(),
            "secret_key": given.secret_key.get_secret_value(),
            "port": self.port,
            "log_format": "json",
            **settings,
        }
        self._environment = dict(os.environ) | {
            f"TOWLINE_{name.upper()}": str(value) for name, value in chosen.items()
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("a") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "api", "serve"],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m api ...` with the settings of this server, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "api", *arguments],
            cwd=REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
        )

    def start(self) -> None:
        """Again, at the same address, after it has ended."""
        self.process = self._start()
        self.wait_until_up()

    def wait_until_up(self) -> None:
        wait_until(self._answers, said=self.log.read_text())

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def workers(self) -> list[int]:
        """The pids of the processes that serve."""
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children")
        return [int(pid) for pid in children.read_text().split()]

    def kill(self) -> None:
        """`kill -9` for all of it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()

"""The embedded service, seen from outside: its terminal, its processes, its API."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx

from infra.embedded.identity import Process, find, group_members

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[3]
START_S = 90.0


@dataclass
class EmbeddedService:
    """`python -m infra.embedded`, seen from outside."""

    process: subprocess.Popen[str]
    home: Path
    port: int
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.home / "key").read_text().strip()

    @property
    def said(self) -> str:
        """Everything on its terminal so far."""
        return self.output.read_text()

    def api(self) -> httpx.Client:
        """A client with the service's key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=70, trust_env=False)

    def wait_for(self, text: str, limit_s: float = START_S) -> None:
        """Until the terminal shows a text."""
        wait_until(lambda: text in self.said or self.process.poll() is not None, limit_s)
        assert text in self.said, f"ended with {self.process.poll()}:\n{self.said}"

    def wait_until_up(self) -> None:
        """Until the sample came out right."""
        self.wait_for("It stays up until Ctrl-C.")

    def child(self, name: str) -> Process:
        """The process of one child, by its pid file."""
        pid_file = self.home / "run" / f"{name}.pid"
        process = find(int(pid_file.read_text().split()[0])) if pid_file.exists() else None
        assert process is not None, f"{name} does not run"
        return process

    def was_replaced(self, name: str, before: Process) -> bool:
        """Whether another process does the work of one that ended."""
        pid_file = self.home / "run" / f"{name}.pid"
        now = find(int(pid_file.read_text().split()[0])) if pid_file.exists() else None
        return now is not None and now != before

    def family(self) -> list[Process]:
        """The supervisor and everything below it, grandchildren included."""
        mark = f"TOWLINE_HOME={self.home}"
        everybody = (find(int(folder.name)) for folder in Path("/proc").glob("[0-9]*"))
        family = {each for each in everybody if each and each.has_in_environment(mark)}
        for pid_file in (self.home / "run").glob("*.pid"):  # where there is no /proc, these alone
            family |= set(group_members(int(pid_file.read_text().split()[0])))
        return sorted(family, key=lambda each: each.pid != self.process.pid)

    def kill_everything(self) -> None:
        """`kill -9` for all of it, the supervisor first, so that it mends nothing."""
        family = self.family()
        for member in family:
            member.signal(signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not any(member.is_alive() for member in family), 5)

    def stop(self, number: int = signal.SIGTERM, limit_s: float = 10) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(limit_s)


class StartService(Protocol):
    """Start a service; it has ended after the test."""

    def __call__(
        self,
        *arguments: str,
        home: Path | None = None,
        port: int | None = None,
        folder: Path = REPOSITORY,
        command: tuple[str, ...] = (sys.executable, "-m", "infra.embedded"),
        **environment: str,
    ) -> EmbeddedService: ...


def wait_until(happened: Callable[[], object], limit_s: float = 10) -> None:
    """Look again and again; the test fails when it does not happen."""
    deadline_s = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline_s, f"did not happen within {limit_s} s"
        time.sleep(0.05)


def refused(service: EmbeddedService, reason: str) -> None:
    """One clear line, and a status that is not 0."""
    assert service.process.wait(15) == 1
    lines = service.said.splitlines()
    assert len(lines) == 1, service.said
    assert reason in lines[0]

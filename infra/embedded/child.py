"""One process of the service: its command, log and pid file, and when to start it again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.embedded.identity import group_members
from infra.embedded.leftovers import remember

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from infra.embedded.home import Home

LOG_BYTES = 10 * 2**20
GROUP_END_S = 1.0


@dataclass
class Backoff:
    """How long to wait before the next start: 0.2, 0.4, ... 5 s; anew after 10 s of life."""

    shortest_s: float = 0.2
    longest_s: float = 5.0
    healthy_s: float = 10.0
    quick_ends: int = 0

    def after(self, ran_s: float) -> float:
        """The wait after a run of `ran_s` seconds."""
        self.quick_ends = 1 if ran_s >= self.healthy_s else self.quick_ends + 1
        doublings = min(self.quick_ends - 1, 10)
        return min(self.longest_s, self.shortest_s * 2.0**doublings)


@dataclass
class Child:
    """A process in a group of its own, so that a Ctrl-C does not reach it directly."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path  #: where it runs
    log: Path
    pid_file: Path
    ends_last: bool = False  #: the broker, which the others need to end well
    before_start: Callable[[int | None], None] = lambda status: None  #: given its last status
    backoff: Backoff = field(default_factory=Backoff)
    last_status: int | None = None
    process: subprocess.Popen[str] | None = None
    started_at_s: float = 0.0
    start_at_s: float | None = None  #: when it is to be started again

    @classmethod
    def of(
        cls, home: Home, name: str, command: Sequence[str], environment: Mapping[str, str],
        folder: Path,
    ) -> Child:  # fmt: skip
        """A child whose log and pid file lie where they belong."""
        log, pid_file = home.logs / f"{name}.log", home.run / f"{name}.pid"
        return cls(name, command, environment, folder, log, pid_file)

    def start(self, *, capture: bool = False) -> None:
        """Start it; with `capture`, its output is kept for whoever called."""
        self.before_start(self.last_status)
        bound_log(self.log)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if capture else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.started_at_s, self.start_at_s = time.monotonic(), None
        remember(self.pid_file, self.process.pid)

    @property
    def pid(self) -> int | None:
        """The pid of its last run."""
        return self.process.pid if self.process else None

    def has_ended(self) -> bool:
        """Whether its own process is over; its group may have members still."""
        return self.process is None or self.process.poll() is not None

    def is_gone(self) -> bool:
        """Whether nothing of it runs any more, its grandchildren included."""
        return self.has_ended() and (self.pid is None or not group_members(self.pid))

    def bury(self) -> int:
        """After its end: end its grandchildren too, forget its pid; its exit status."""
        assert self.process is not None  # noqa: S101 - only what was started can end
        self.last_status = self.process.returncode
        self.signal_group(signal.SIGKILL)
        deadline_s = time.monotonic() + GROUP_END_S
        while not self.is_gone() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        self.pid_file.unlink(missing_ok=True)
        self.process = None
        return self.last_status

    def plan_start(self) -> None:
        """Start it again after a while; the longer, the more often it ended at once."""
        now_s = time.monotonic()
        self.start_at_s = now_s + self.backoff.after(now_s - self.started_at_s)

    def is_due(self) -> bool:
        """Whether the time has come to start it again."""
        return (
            self.start_at_s is not None and self.has_ended() and time.monotonic() >= self.start_at_s
        )

    def ask_to_end(self) -> None:
        """SIGTERM to the process itself, which knows best how to end its own children."""
        self.start_at_s = None
        if self.process is not None and not self.has_ended():
            self.process.terminate()

    def signal_group(self, number: int) -> None:
        """Reach its grandchildren as well."""
        if self.pid is not None:
            # macOS answers EPERM for a group of zombies
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def in_words(status: int) -> str:
    """An exit status as people read it."""
    if status >= 0:
        return f"status {status}"
    return f"signal {signal.Signals(-status).name}"


def bound_log(log: Path) -> None:
    """Keep a log under 10 MB and one older part; safe while a child appends to it."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)

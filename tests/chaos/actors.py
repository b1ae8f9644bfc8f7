"""Processes that are killed and frozen, and somebody who starts again what has ended.

As Compose or Kubernetes would: a short while after its end, whatever it was. No process
outlives the one that started it, however that one ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.crew import REPOSITORY

TICK_S = 0.05
RESTART_S = 0.2  #: between the end of a process and its next start
END_S = 10.0


@dataclass
class Life:
    """One process, from its start to its end. Times are `time.time()`."""

    process: subprocess.Popen[bytes]
    log: Path
    began_at: float
    ended_at: float | None = None

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass
class Actor:
    """A part in the play; each of its lives has a log of its own."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    lives: list[Life] = field(default_factory=list)

    @property
    def life(self) -> Life:
        """The present one, or the last."""
        return self.lives[-1]

    def start(self) -> None:
        """Begin a life, in a group of its own."""
        log = self.folder / f"{self.name}.{len(self.lives)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command],
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.lives.append(Life(process, log, time.time()))

    def signal(self, number: signal.Signals) -> int:
        """Send it to the process and its children, unless they have ended; the pid."""
        if self.life.ended_at is None:  # or the number may be somebody else's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.life.pid, number)
        return self.life.pid

    def ask_to_end(self) -> int:
        """SIGTERM to the process itself, which knows how to end its children; the pid."""
        self.life.process.terminate()
        return self.life.pid


class Supervisor:
    """Keeps actors alive, in one thread: a process ends with the thread that started it."""

    def __init__(self) -> None:
        self._actors: list[Actor] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No actor lives after it."""
        self._over.set()
        self._thread.join(END_S)
        if self._error is not None:
            raise self._error

    def keep(self, *actors: Actor) -> None:
        """Start these, and again whenever they end."""
        with self._lock:
            self._actors += actors

    def _watch(self) -> None:
        try:
            while not self._over.wait(TICK_S):
                with self._lock:
                    actors = list(self._actors)
                for actor in actors:
                    self._revive(actor)
        except Exception as error:  # noqa: BLE001 - raised where it is noticed
            self._error = error
        for actor in self._actors:
            self._end(actor)

    def _revive(self, actor: Actor) -> None:
        if not actor.lives:
            actor.start()
            return
        life = actor.life
        if life.ended_at is None and life.process.poll() is not None:
            actor.signal(signal.SIGKILL)  # what it may have left of its group
            life.ended_at = time.time()
        if life.ended_at is not None and time.time() > life.ended_at + RESTART_S:
            actor.start()

    def _end(self, actor: Actor) -> None:
        if actor.lives:
            actor.signal(signal.SIGKILL)
            actor.life.process.wait(END_S)

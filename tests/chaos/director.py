"""Plays the script: begins each fault when its time has come, ends it, and notes both down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.faults import WORKERS, Fault
from tests.chaos.harm import Harm
from tests.chaos.stage import Stage, is_ready

PROBE_S = 0.25
AT_ONCE = 24  #: faults that last at the same time, at the most


@dataclass
class Played:
    """A fault as it was. Times are `time.time()`; it is over when what was killed runs again.

    held: the jobs and attempts that a worker had when it was hit.
    """

    fault: Fault
    began_at: float
    ended_at: float = 0.0
    pid: int | None = None
    held: list[tuple[str, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Director:
    """Plays a script in threads of its own until it is told to stop; then heals everything."""

    def __init__(self, stage: Stage, script: Iterator[Fault], log: Path) -> None:
        self._stage, self._script = stage, script
        self._harm = Harm(stage)
        self._log = log.open("x", buffering=1)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.played: list[Played] = []
        self.errors: list[Exception] = []
        self._thread = threading.Thread(target=self._play_all, name="director", daemon=True)
        self._begun_at = 0.0

    def start(self) -> None:
        self._begun_at = time.time()
        self._thread.start()

    def close(self) -> None:
        """No new fault; return when the last one is over."""
        self._over.set()
        self._thread.join()
        if self.errors:
            raise self.errors[0]

    def _play_all(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for fault in self._script:
                if self._over.wait(max(0.0, self._begun_at + fault.at_s - time.time())):
                    return
                pool.submit(self._play, fault)

    def _play(self, fault: Fault) -> None:
        try:
            played = Played(fault, time.time())
            played.pid = self._harm.begin(fault)
            if fault.target.partition("/")[0] in WORKERS and played.pid is not None:
                played.held = self._stage.held_by(played.pid)
            time.sleep(max(0.0, played.began_at + fault.lasts_s - time.time()))
            self._harm.end(fault, played.pid)
            self._harm.wait_for_next_life(fault, played.pid)
            played.ended_at = time.time()
        except Exception as error:  # noqa: BLE001 - told by `close`
            self.errors.append(error)
            return
        with self._lock:
            self.played.append(played)
            self._log.write(json.dumps(played.to_json()) + "\n")


class Probe(threading.Thread):
    """Asks an API process again and again whether it is ready."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name=f"probe-{name}", daemon=True)
        self._url = url
        self._over = threading.Event()
        self.good_at: list[float] = []

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=1.0) as client:
            while not self._over.wait(PROBE_S):
                begun_at = time.time()
                if is_ready(self._url, client):
                    self.good_at.append(begun_at)

    def stop(self) -> None:
        self._over.set()
        self.join()

"""The engine of the chaos suite: `warp`, and what a job's seed tells it to do beside.

A seed is `act * 2**32 + number`, since a seed goes through the API unchanged. Number is the
job's own. Whatever happens once leaves a mark in the folder `CHAOS_MARKS`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import DragNotReachable, StorageUnavailable
from worker.engines.base import Candidate, Edit, Outcome, Watch
from worker.engines.warp.engine import WarpEngine

if TYPE_CHECKING:
    from shared.settings import Settings

#: What a seed can ask for; the place in the list is its number.
ACTS = (
    "warp", "copy", "sleep", "linger", "fail", "refuse", "lose_storage_once", "die_once",
    "poison", "overtime",
)  # fmt: skip
STEP_S = 0.02
SHORTEST_S, LONGEST_S = 0.1, 1.5  #: of the act `sleep`, by the number
OVERTIME_S = 60.0
LINGER_S = 8.0  #: of a job that is going to be canceled


def seed_of(act: str, number: int) -> int:
    """The seed that makes the engine do it."""
    return ACTS.index(act) * 2**32 + number


class ChaosEngine:
    """Warps, copies, sleeps, fails, or kills its process, as the seed says."""

    name = "warp"
    model_digest = "chaos-1"

    def __init__(self, marks: Path) -> None:
        self._warp = WarpEngine()
        self._marks = marks

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        act, number = ACTS[edit.seed >> 32], edit.seed % 2**32
        if act == "warp":
            return self._warp.run(edit, watch)
        getattr(self, f"_{act}")(number, watch)
        watch.step(1, 1)
        return Outcome(candidates=(Candidate(edit.picture_HWC, edit.seed),))

    def _copy(self, number: int, watch: Watch) -> None:
        pass

    def _sleep(self, number: int, watch: Watch) -> None:
        _sleep(SHORTEST_S + number % 100 / 100 * (LONGEST_S - SHORTEST_S), watch)

    def _overtime(self, number: int, watch: Watch) -> None:
        _sleep(OVERTIME_S, watch)

    def _linger(self, number: int, watch: Watch) -> None:
        _sleep(LINGER_S, watch)

    def _fail(self, number: int, watch: Watch) -> None:
        raise ZeroDivisionError("as the job asked")

    def _refuse(self, number: int, watch: Watch) -> None:
        raise DragNotReachable("too far, as the job asked")

    def _lose_storage_once(self, number: int, watch: Watch) -> None:
        if self._is_first(number):
            raise StorageUnavailable("away, as the job asked")

    def _die_once(self, number: int, watch: Watch) -> None:
        if self._is_first(number):
            _die()

    def _poison(self, number: int, watch: Watch) -> None:
        _die()

    def _is_first(self, number: int) -> bool:
        try:
            (self._marks / str(number)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def load(name: str, settings: Settings) -> ChaosEngine:
    """As `worker.engines.registry.load_engine`."""
    return ChaosEngine(Path(os.environ["CHAOS_MARKS"]))


def _sleep(seconds: float, watch: Watch) -> None:
    end = time.monotonic() + seconds
    steps = max(1, round(seconds / STEP_S))
    for done in range(steps):
        watch.step(done, steps)
        time.sleep(STEP_S)
        if time.monotonic() > end:
            return


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

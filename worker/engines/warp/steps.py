"""A run's progress: every round has the same number of steps, known from the start."""

from __future__ import annotations

from collections.abc import Callable

from worker.engines.base import Watch

STEPS_PER_ROUND = 20


class RoundSteps:
    """Turns shares of a round into steps of the whole run, and lets the watch end it."""

    def __init__(self, watch: Watch, index: int, rounds: int) -> None:
        self._watch = watch
        self._before = index * STEPS_PER_ROUND
        self._all = rounds * STEPS_PER_ROUND

    def reach(self, share: float) -> None:
        """Say that `share` (0 to 1) of the round is done; called more often than it changes."""
        done = min(int(share * STEPS_PER_ROUND + 1e-9), STEPS_PER_ROUND)
        self._watch.step(self._before + done, self._all)

    def between(self, low: float, high: float) -> Callable[[float], None]:
        """The same for a stretch of the round: 0 to 1 becomes `low` to `high`."""
        return lambda share: self.reach(low + (high - low) * share)

"""When to look again at a thing that is waited for, and when to give up.

The service is asked to hold its answer until the thing has ended (`Prefer: wait`). Where something
on the way does not bear a request that is held, it is asked to hold it for half as long; where it
answers at once all the same, there are pauses that grow. So there is always a hold or a pause.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from towline._core.backoff import is_worth_repeating, pause_s

if TYPE_CHECKING:
    from towline._failures import TowlineError

HOLD_S = 30.0  #: how long the service is asked to hold an answer
AWAY_S = 300.0  #: how long a service that does not answer is waited for
FIRST_POLL_S = 0.5
LONGEST_POLL_S = 10.0
GRACE_S = 1.0  #: that the last look is given, though the time is over


class Patience:
    """Of one wait."""

    def __init__(self, timeout_s: float | None) -> None:
        now = time.monotonic()
        self._end = None if timeout_s is None else now + timeout_s
        self._answered_at = self._asked_at = now
        self._hold_s, self._held_s = HOLD_S, 0.0
        self._poll_s = FIRST_POLL_S
        self._failures = 0

    def left_s(self) -> float:
        """Until it is over."""
        return float("inf") if self._end is None else max(0.0, self._end - time.monotonic())

    def hold_s(self) -> float:
        """How long the answer that is asked for now may be held, in whole seconds."""
        self._asked_at = time.monotonic()
        self._held_s = float(int(min(self._hold_s, self.left_s())))
        return self._held_s

    def after_answer(self) -> float:
        """The pause before the next look; what is looked at has not ended."""
        now = time.monotonic()
        self._answered_at, self._failures = now, 0
        if self._held_s and now - self._asked_at >= 0.8 * self._held_s:
            self._hold_s = min(HOLD_S, 2 * self._hold_s)
            self._poll_s = FIRST_POLL_S
            return 0.0
        pause_s = self._poll_s * random.uniform(0.75, 1.25)  # noqa: S311
        self._poll_s = min(LONGEST_POLL_S, 1.5 * self._poll_s)
        return min(pause_s, self.left_s())

    def after_failure(self, failure: TowlineError) -> float | None:
        """The pause before the next look; None to give up."""
        now = time.monotonic()
        if not is_worth_repeating(failure) or now - self._answered_at > AWAY_S:
            return None
        if now - self._asked_at >= 1.0:  # it was held, and cut off
            self._hold_s /= 2
        pause = pause_s(failure, self._failures)
        self._failures += 1
        return None if pause is None else min(pause, self.left_s())

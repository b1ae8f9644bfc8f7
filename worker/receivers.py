"""How much may be on its way to each receiver at once, so that none delays another.

A lane (an endpoint, or a host) begins with a small window. Each quick success widens it by
one, each slow answer, or none, halves it: what is slow takes room from others, what fails
quickly does not. After `TRIPS_AT` failures without a success
between them its breaker opens: nothing is sent for a while, then one message to see whether
the receiver is back; that it is closes the breaker, else the pause is doubled. One account
has at most half of what a process sends at once, whatever hosts it names.

All of it is memory of one process, which a new one learns again within a few tries.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from shared.webhooks.outbox import account_of

FIRST_WINDOW = 2
KEPT = 10_000  #: lanes that are remembered although nothing is on its way to them
TRIPS_AT = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(slots=True)
class Lane:
    """What is known of one receiver."""

    window: int = FIRST_WINDOW
    on_their_way: int = 0
    failures: int = 0  #: since the last success
    open_until: float = 0.0


class Receivers:
    """Counts what is on its way, and says what may join it."""

    def __init__(
        self,
        *,
        total: int,
        each: int,
        slow_s: float,
        time_scale: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._each = each
        self._slow_s = slow_s
        self._scale = time_scale
        self._clock = clock
        self._lanes: OrderedDict[str, Lane] = OrderedDict()  # whoever was heard of last is last
        self._accounts: Counter[str] = Counter()

    @property
    def free(self) -> int:
        """How many more this process may have on their way."""
        return self._total - self._accounts.total()

    def room(self, lane: str, taken: int = 0) -> int:
        """How many more may go to a receiver now; `taken`: its account's that will `enter`."""
        known = self._lanes.get(lane) or Lane(min(FIRST_WINDOW, self._each))
        of_account = max(self._total // 2, 1) - self._accounts[account_of(lane)] - taken
        if known.failures >= TRIPS_AT:
            if self._clock() < known.open_until or known.on_their_way:
                return 0
            return max(min(1, of_account), 0)
        return max(min(known.window - known.on_their_way, of_account, self.free), 0)

    def enter(self, lane: str) -> None:
        """A message is on its way."""
        known = self._lanes.setdefault(lane, Lane(min(FIRST_WINDOW, self._each)))
        known.on_their_way += 1
        self._accounts[account_of(lane)] += 1

    def leave(self, lane: str, *, is_success: bool | None, took_s: float = 0.0) -> None:
        """It is not any more; `is_success` is None when nobody knows what became of it."""
        known = self._lanes[lane]
        known.on_their_way -= 1
        self._accounts[account_of(lane)] -= 1
        if is_success:
            known.failures = 0
        elif is_success is False:
            known.failures += 1
            self._trip(known)
        if took_s >= self._slow_s:
            known.window = max(known.window // 2, 1)
        elif is_success:
            known.window = min(known.window + 1, self._each)
        self._forget(lane, known)

    def _trip(self, lane: Lane) -> None:
        pauses = lane.failures - TRIPS_AT
        if pauses >= 0:
            pause_s = min(FIRST_PAUSE_S * 2.0 ** min(pauses, 10), LONGEST_PAUSE_S)
            lane.open_until = self._clock() + pause_s * self._scale

    def _forget(self, lane: str, known: Lane) -> None:
        """One that does well and has nothing on its way is as good as new.

        Of the others, those are kept that were heard of last: an account may name any number.
        """
        self._lanes.move_to_end(lane)
        if not known.on_their_way and not known.failures and known.window >= self._each:
            del self._lanes[lane]
        if len(self._lanes) > KEPT:
            idle = (name for name, each in self._lanes.items() if not each.on_their_way)
            self._lanes.pop(next(idle, ""), None)
        if not self._accounts[account_of(lane)]:
            del self._accounts[account_of(lane)]

"""When the retry schedule allows a try, worked out apart from the code that keeps it.

From the log of a delivery (when each try ended, and how) and the times at which no worker ran:

    latest    each wait at its longest (jitter, `Retry-After`), a lease and the outage for each
              death of the worker meanwhile, and a margin for the machine: its backlog, its speed
    earliest  each wait at its shortest, and no margin: nothing makes a try come before its time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: As the documentation promises them, written down once more: seconds before each try.
WAITS_S = (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
JITTER = 0.1
CLOCK_S = 0.05  #: by which two readings of a clock in milliseconds, or of two clocks, may differ


@dataclass(frozen=True)
class Try:
    """One try of the log; seconds since 1970, and what the receiver asked for if it failed."""

    began: float
    ended: float
    is_success: bool
    retry_after_s: float = 0.0


@dataclass(frozen=True)
class Outage:
    """From the death of the worker until the next one was ready."""

    began: float
    ended: float


@dataclass(frozen=True)
class Rules:
    """What a run was set to. scale: of the waits; lease_s: of a claim whose worker died."""

    scale: float
    lease_s: float
    margin_s: float

    def waits_s(self, number: int, failed: Try) -> tuple[float, float]:
        """The shortest and the longest wait after the try of this number (from 1) has failed."""
        wait_s = WAITS_S[number] * self.scale
        shortest = max(wait_s * (1 - JITTER), failed.retry_after_s)
        return shortest, max(wait_s * (1 + JITTER), failed.retry_after_s)


def latest(created: float, tries: Sequence[Try], outages: Sequence[Outage], rules: Rules) -> float:
    """Until when the message must have been accepted, if these were its tries."""
    at = created + rules.margin_s
    for number, failed in enumerate(tries, start=1):
        if failed.is_success:
            break
        if number < len(WAITS_S):
            at += failed.ended - failed.began + rules.waits_s(number, failed)[1]
    for outage in sorted(outages, key=lambda each: each.began):
        if created <= outage.ended and outage.began <= at:
            at += outage.ended - outage.began + rules.lease_s
    return at


def early_tries(tries: Sequence[Try], rules: Rules) -> int:
    """How many came before the schedule lets them."""
    return sum(
        after.began < failed.ended + rules.waits_s(number, failed)[0] - CLOCK_S
        for number, (failed, after) in enumerate(pairwise(tries), start=1)
    )

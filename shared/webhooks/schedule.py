"""When a message is tried again, and when its sender gives up.

Tries at 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, each after the one before:
75 h 35 min in all. Each wait is jittered, so that what failed together does not come back
together. `TOWLINE_WEBHOOK_TIME_SCALE` makes all of it shorter, for tests.
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DELAYS_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1  #: of a wait, in both directions
LONGEST_RETRY_AFTER_S = 86_400
GIVE_UP_S = 5 * 86_400  #: of nothing but failures: an endpoint is disabled, a message has failed

SUCCESS = range(200, 300)
GONE = 410


def next_delay_s(
    tries: int, *, scale: float = 1.0, retry_after_s: float = 0.0, spread: float | None = None
) -> float | None:
    """Seconds from a try that failed to the next; None when there is none.

    tries: how many there were. retry_after_s: what the receiver asked for; it may make the
    wait longer, up to a day, and never shorter: ten tries are soon gone. spread: -1 to 1,
    where in the jitter; random by default.
    """
    if tries >= len(DELAYS_S):
        return None
    spread = random.uniform(-1, 1) if spread is None else spread  # noqa: S311 - no secret
    delay_s = DELAYS_S[tries] * (1 + JITTER * spread) * scale
    return max(delay_s, min(retry_after_s, LONGEST_RETRY_AFTER_S * scale))


def retry_after_s(value: str | None, now: datetime) -> float:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3); 0 if it cannot be read."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError):  # a year of twenty digits overflows
        return 0.0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max((at - now).total_seconds(), 0.0)

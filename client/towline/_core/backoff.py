"""How long to wait before a request is sent again, and whether it is.

Exponential backoff with full jitter: anything between 0 and 0.5 s, 1 s, 2 s, ... 8 s. What the
service says in `Retry-After` is the least, if it is within what a call may take.
"""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime
from time import time

from towline._failures import APIError, TransportError

FIRST_S = 0.5
LONGEST_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0  #: what is further away is for the caller to decide
REPEATABLE = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524})
IN_FLIGHT = "idempotency_key_in_flight"


def is_worth_repeating(failure: Exception) -> bool:
    """Whether the same request may succeed another time."""
    if isinstance(failure, APIError):
        return failure.status in REPEATABLE or failure.code == IN_FLIGHT
    return isinstance(failure, TransportError)


def pause_s(failure: Exception, repeats: int) -> float | None:
    """Seconds until the next try, after so many repeats; None: it makes no sense to wait."""
    jitter_s = random.uniform(0, min(LONGEST_S, FIRST_S * 2 ** min(repeats, 10)))  # noqa: S311
    asked_s = failure.retry_after if isinstance(failure, APIError) else None
    if asked_s is None:
        return jitter_s
    if asked_s > LONGEST_RETRY_AFTER_S:
        return None
    return asked_s + min(jitter_s, 1.0)


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, as a number or as a date; None if it says neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return max(0.0, at.timestamp() - time())

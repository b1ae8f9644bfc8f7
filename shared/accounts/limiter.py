"""Requests per second: one round trip to Redis, and none that anybody waits for.

GCRA (generic cell rate algorithm; ITU-T I.371): for each account one number is kept, the time at
which all that it has asked for would have been served at its rate. A second's worth may come at
once; then one more whenever its part of a second is over. So in any second at most twice
the limit passes, and over any longer time its rate.

Redis decides nothing that must not be lost: when it is away, slow or empty, requests pass and
`unchecked` counts them. See `docs/decisions/0046-requests-are-counted-by-gcra-in-redis.md`.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.telemetry.metrics import LIMITER_UNCHECKED

log = structlog.get_logger()

TIMEOUT_S = 0.1
BREAK_S = 1.0  #: how long nobody asks after an answer that did not come
KEY = "towline:requests:"

#: KEYS: the account's. ARGV: microseconds for each request, requests that may come at once.
#: Gives whether it passes, how many more may, and microseconds until one more may.
_GCRA = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local each = tonumber(ARGV[1])
local window = each * tonumber(ARGV[2])
local served = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local passes = 0
if served + each <= now + window then
  passes = 1
  served = served + each
  local ttl_ms = math.ceil((served - now) / 1000) + 1
  redis.call('SET', KEYS[1], string.format('%.0f', served), 'PX', string.format('%.0f', ttl_ms))
end
local room = now + window - served
local left = math.floor(room / each)
return {passes, left, math.ceil(each * (left + 1) - room)}
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """May the request pass; how many more may now; seconds until one more may."""

    passes: bool
    left: int
    more_in_s: int


class Limiter:
    """One for each process; safe for its threads."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._gcra = self._redis.register_script(_GCRA)
        self._closed_until = 0.0
        self._lock = threading.Lock()
        self.unchecked = 0  #: requests that passed without an answer from Redis, since the start

    def ask(self, account_id: str, requests_per_s: int) -> Verdict | None:
        """Count one request of the account; None: nobody knows, let it pass."""
        if time.monotonic() < self._closed_until:
            self._count_unchecked()
            return None
        each_us = math.ceil(1_000_000 / requests_per_s)  # whole: what is added up stays exact
        try:
            passes, left, more_us = self._gcra(
                keys=[KEY + account_id], args=[each_us, requests_per_s]
            )
        except (redis.RedisError, OSError) as error:
            self._closed_until = time.monotonic() + BREAK_S
            log.warning("limiter_open", error=type(error).__name__, unchecked=self.unchecked)
            self._count_unchecked()
            return None
        return Verdict(bool(passes), left, max(1, math.ceil(more_us / 1e6)))

    def _count_unchecked(self) -> None:
        with self._lock:
            self.unchecked += 1
        LIMITER_UNCHECKED.inc()

"""A service that is away for a while is waited for, and that is shown.

Each call of the client repeats itself for up to a minute already. A restart, an upgrade, a
network that is down for longer must not end a night's work.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from towline import TowlineError
from towline._core.backoff import is_worth_repeating
from towline.errors import LimitExceeded, RateLimited

T = TypeVar("T")
LONGEST_PAUSE_S = 10.0


class Patience:
    """Of a whole run: calls beside each other share when the service was heard last."""

    def __init__(self, away_s: float, say: Callable[[str], None]) -> None:
        self._away_s = away_s
        self._say = say
        self._heard_at: float | None = None  #: None: never, so the address may be wrong
        self._is_away = False

    def heard(self) -> None:
        """The service is there."""
        self._heard_at = time.monotonic()
        if self._is_away:
            self._say("")
        self._is_away = False

    async def bear(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives, however often it has to be made; its error after too long."""
        pause_s = 0.5
        while True:
            try:
                found = await call()
            except TowlineError as failure:
                await self.after(failure, pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
            else:
                self.heard()
                return found

    async def after(self, failure: TowlineError, pause_s: float) -> None:
        """Wait; the failure itself if that makes no sense."""
        if isinstance(failure, RateLimited):  # by others, too: it is there, and there is time
            self.heard()
            await asyncio.sleep(max(pause_s, failure.retry_after or 0.0))
            return
        if isinstance(failure, LimitExceeded) or not is_worth_repeating(failure):
            raise failure
        if self._heard_at is None or time.monotonic() - self._heard_at > self._away_s:
            raise failure
        self._is_away = True
        self._say("no answer; trying again")
        await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311

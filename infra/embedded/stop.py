"""Signals that ask the service to end: they raise a flag, and interrupt nothing."""

from __future__ import annotations

import signal
import time

ONE_WISH_S = 0.5


class StopAsked(Exception):
    """Somebody wants the service to end."""


class StopSignals:
    """Counts the wishes to end: Ctrl-C, SIGTERM, and a terminal that was closed.

    One wish may come twice at once (to the process group, and passed on by make).
    """

    def __init__(self) -> None:
        self.count = 0
        self._last_s = float("-inf")

    def listen(self) -> None:
        """From now on; a SIGHUP that was ignored (nohup) stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: self._note())

    def _note(self) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s > ONE_WISH_S:
            self.count += 1
            self._last_s = now_s

"""One thread in each process that looks for everybody who waits or listens.

No request holds a database connection while it waits. The thread sleeps while nobody waits, a
while after each look, longer when looks are slow, so that looking never takes more than a fifth
of its time; and a moment while the database is away.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

import structlog

from shared.errors import TowlineError

log = structlog.get_logger()

POLL_S = 0.05
REST = 4  #: times as long as a look took
LONGEST_REST_S = 1.0
AWAY_S = 0.5


class Lookout(Protocol):
    """Something to look for."""

    def is_wanted(self) -> bool:
        """Whether anybody waits for it; called with the lock held."""

    def look(self) -> None:
        """Look once, and tell those whom it concerns."""


class Notifier:
    """Calls its lookouts again and again; what they share is kept under its lock."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.is_closed = False
        self._lookouts: list[Lookout] = []
        self._thread: threading.Thread | None = None

    def add(self, lookout: Lookout) -> None:
        """Look for this too."""
        self._lookouts.append(lookout)

    def wake(self) -> None:
        """Somebody waits now; called with the lock held.

        The thread begins in the process that serves, not in the one that forked it.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
            self._thread.start()
        self.lock.notify()

    def close(self) -> None:
        """End every wait, now and later; safe in a signal handler."""
        self.is_closed = True

    def _run(self) -> None:
        while True:
            with self.lock:
                self.lock.wait_for(self._wanted)
                wanted = self._wanted()
            began = time.monotonic()
            could_look = [_look(lookout) for lookout in wanted]
            took_s = time.monotonic() - began
            least_s = POLL_S if all(could_look) else AWAY_S
            time.sleep(max(least_s, min(REST * took_s, LONGEST_REST_S)))

    def _wanted(self) -> list[Lookout]:
        return [lookout for lookout in self._lookouts if lookout.is_wanted()]


def _look(lookout: Lookout) -> bool:
    """False when it could not; the thread must go on: everybody who waits hangs on it."""
    try:
        lookout.look()
    except TowlineError as error:
        log.warning("waiting_without_database", error=error.message)
        return False
    except Exception:
        log.exception("waiting_failed")
        return False
    return True

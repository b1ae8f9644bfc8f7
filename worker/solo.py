"""Who runs beside whom in one process: a job that has lost a worker runs alone.

Whatever killed its last worker may be its own doing, so it gets no company to take along.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Solo:
    """Many at once, or one that is suspected; a suspect that waits lets nobody new in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._suspects = 0  # waiting or running

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Run once no suspect waits or runs."""
        with self._changed:
            self._changed.wait_for(lambda: self._suspects == 0)
            self._running += 1
        yield from self._leave_after()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run once nothing else does."""
        with self._changed:
            self._suspects += 1
            self._changed.wait_for(lambda: self._running == 0)
            self._running += 1
        try:
            yield from self._leave_after()
        finally:
            with self._changed:
                self._suspects -= 1
                self._changed.notify_all()

    def _leave_after(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

"""Places for answers that may take long to send: each keeps a thread of the server meanwhile."""

from __future__ import annotations

import threading
from collections import Counter


class Places:
    """`limit` of them in this process, at most `share` for one account."""

    def __init__(self, limit: int, *, share: int) -> None:
        self.limit, self.share = limit, share
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, account_id: str) -> bool:
        """Whether there was one."""
        with self._lock:
            if self._taken.total() >= self.limit or self._taken[account_id] >= self.share:
                return False
            self._taken[account_id] += 1
            return True

    def give_back(self, account_id: str) -> None:
        """It is free again."""
        with self._lock:
            self._taken[account_id] -= 1
            if not self._taken[account_id]:
                del self._taken[account_id]

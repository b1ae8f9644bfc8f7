"""Who follows which job, and what is new there; who looks is in `api/notifier.py`.

Whoever follows holds a thread, so there is a limit. Past it nobody is starved by a neighbour: the
account that has most makes room for one that has fewer, by the oldest of its streams, which its
client takes up again later.

A stream outlives the request that was let in, so its key is looked at again, those of all streams
in one query: from a key that was revoked or has expired on, or one whose account is being deleted,
a stream says nothing more and ends.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from shared.errors import TooManyStreams

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.notifier import Notifier
    from shared.accounts.store import AccountStore
    from shared.jobs.history import History, HistoryStore

KEYS_S = 5.0  #: how often keys are looked at again; within a heartbeat of a stream


class Feed:
    """What is known of one job that somebody follows."""

    def __init__(self, history: History) -> None:
        self.history: History | None = history  #: None: the job was deleted
        self.version = history.version
        self.number = 0  #: rises with each change
        self.followers = 0
        self.changed = threading.Condition()

    def tell(self, history: History | None) -> None:
        """This is how the job is now."""
        with self.changed:
            self.history = history
            if history is not None:
                self.version = history.version
            self.number += 1
            self.changed.notify_all()


class Follower:
    """One stream, and how much it has seen of its feed."""

    def __init__(self, account_id: str, key_id: str, job_id: str, feed: Feed) -> None:
        self.account_id = account_id
        self.key_id = key_id
        self.job_id = job_id
        self.feed = feed
        self.is_dismissed = False  #: it is to end now, and to be taken up again later
        self._seen = -1

    def wait(self, seconds: float) -> bool:
        """Whether there is something new, after so many seconds at the most; at first, at once."""
        with self.feed.changed:
            self.feed.changed.wait_for(self._should_wake, seconds)
            is_new, self._seen = self.feed.number > self._seen, self.feed.number
        return is_new

    def dismiss(self) -> None:
        """Let it end."""
        with self.feed.changed:
            self.is_dismissed = True
            self.feed.changed.notify_all()

    def _should_wake(self) -> bool:
        return self.is_dismissed or self.feed.number > self._seen


class Feeds:
    """Every stream of this process."""

    def __init__(
        self, histories: HistoryStore, accounts: AccountStore, notifier: Notifier, *, limit: int
    ) -> None:
        self._histories = histories
        self._accounts = accounts
        self._notifier = notifier
        self._limit = limit
        self._feeds: dict[str, Feed] = {}
        self._followers: list[Follower] = []  # the oldest first
        self._keys_seen_at = 0.0
        notifier.add(self)

    def follow(self, history: History, key_id: str) -> Follower:
        """Follow a job from now on by this key, until `leave`; `TooManyStreams`."""
        job = history.job
        with self._notifier.lock:
            if self._notifier.is_closed or not self._has_room_for(job.account_id):
                raise TooManyStreams("This server has as many open streams as it can serve.")
            feed = self._feeds.setdefault(job.id, Feed(history))
            feed.followers += 1
            follower = Follower(job.account_id, key_id, job.id, feed)
            self._followers.append(follower)
            self._notifier.wake()
        return follower

    def leave(self, follower: Follower) -> None:
        """It follows no more."""
        with self._notifier.lock:
            if follower in self._followers:
                self._followers.remove(follower)
            follower.feed.followers -= 1
            if not follower.feed.followers:
                del self._feeds[follower.job_id]

    def is_wanted(self) -> bool:
        """Whether anybody follows anything."""
        return bool(self._feeds)

    def look(self) -> None:
        """Tell those whose job has changed; dismiss everybody once the process is to end."""
        with self._notifier.lock:
            feeds, followers = dict(self._feeds), list(self._followers)
        if self._notifier.is_closed:
            _dismiss(followers)
            return
        self._look_at_keys(followers)
        known = {job_id: feed.version for job_id, feed in feeds.items()}
        for job_id, history in self._histories.changed(known).items():
            feeds[job_id].tell(history)

    def _look_at_keys(self, followers: list[Follower]) -> None:
        """Dismiss those whose key opens nothing any more; again at once if nobody knows."""
        now = time.monotonic()
        if now - self._keys_seen_at < KEYS_S:
            return
        usable = self._accounts.usable_among({follower.key_id for follower in followers})
        self._keys_seen_at = now
        _dismiss(follower for follower in followers if follower.key_id not in usable)

    def _has_room_for(self, account_id: str) -> bool:
        if len(self._followers) < self._limit:
            return True
        counts = Counter(follower.account_id for follower in self._followers)
        for most, count in counts.most_common(1):
            if count > counts[account_id] + 1:
                oldest = next(each for each in self._followers if each.account_id == most)
                self._followers.remove(oldest)
                oldest.dismiss()
                return True
        return False


def _dismiss(followers: Iterable[Follower]) -> None:
    for follower in followers:
        follower.dismiss()

"""When a queued job will have ended, from what was measured of late.

Throughput is read off the gaps between claims, and only those gaps in which somebody waited: a job
that was claimed had been there already when the one before it was. So it counts what the workers
do when they are busy, whatever shares a batch, a GPU or a core with what, and idle times do
not count. Where nobody waited yet, the workers' threads and the mean time of a job stand in for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select, update

from shared.jobs.places import Line, line_seen_by
from shared.jobs.tables import ACTIVE, SUCCEEDED, jobs

if TYPE_CHECKING:
    from shared.db import Database
    from shared.engines_up import EnginesUp
    from shared.jobs.job import Job

SAMPLE = 50  #: jobs that are looked at: those that succeeded last
KEPT_S = 1.0  #: how long what was measured is used again in this process
KEPT_LINES = 1000  #: how many are kept before it is looked which are out of date
OUTAGE = 5.0  #: a gap of so many runs: nobody works that slowly
GUESSED_S = 1.0  #: what a job takes, before any was measured


class Run(NamedTuple):
    """One job that ended: three times in milliseconds since 1970."""

    created_at: int
    claimed_at: int
    finished_at: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an engine works at present.

    run_s: from claim to end of one job. per_s: jobs claimed in a second while others wait.
    is_up: whether there is a worker; without one, `per_s` is what one of its threads would do.
    """

    run_s: float
    per_s: float
    is_up: bool = True

    def queue_s(self, position: int) -> float:
        """Seconds until the start of a job with so many before it."""
        return position / self.per_s

    def eta_s(self, position: int) -> float | None:
        """Seconds until its end; None while there is no worker."""
        return self.queue_s(position) + self.run_s if self.is_up else None


def pace_of(runs: Iterable[Run], threads: int) -> Pace:
    """The pace that these runs show, of workers with so many threads in all."""
    in_order = sorted(runs, key=lambda run: run.claimed_at)
    took_s = [(run.finished_at - run.claimed_at) / 1000 for run in in_order]
    run_s = max(sum(took_s) / len(took_s), 0.001) if took_s else GUESSED_S
    rate = _busy_rate(in_order, OUTAGE * run_s) or max(threads, 1) / run_s
    return Pace(run_s, rate, is_up=threads > 0)


def _busy_rate(in_order: Sequence[Run], longest_s: float) -> float | None:
    """Claims in a second, over the times in which somebody waited; None if nobody did.

    A gap that is longer was no work: then no worker was up.
    """
    gaps_ms = [
        after.claimed_at - before.claimed_at
        for before, after in pairwise(in_order)
        if after.created_at <= before.claimed_at
        and after.claimed_at - before.claimed_at <= 1000 * longest_s
    ]
    total_s = sum(gaps_ms) / 1000
    return len(gaps_ms) / total_s if total_s else None


class Forecasts:
    """The pace of each engine, and what was forecast for a job when it was submitted."""

    def __init__(self, database: Database, engines_up: EnginesUp) -> None:
        self._database = database
        self._engines_up = engines_up
        self._lock = threading.Lock()
        self._paces: dict[str, tuple[float, Pace]] = {}
        self._noted_at: dict[str, float] = {}
        self._lines: dict[tuple[str, str], tuple[float, Line]] = {}

    def pace(self, engine: str) -> Pace:
        """As measured, at most `KEPT_S` ago."""
        kept = self._paces.get(engine)
        if kept is None or time.monotonic() - kept[0] > KEPT_S:
            kept = self._paces[engine] = (time.monotonic(), self._measure(engine))
        return kept[1]

    def _measure(self, engine: str) -> Pace:
        query = (
            select(jobs.c.created_at, jobs.c.claimed_at, jobs.c.finished_at)
            .where(jobs.c.engine == engine, SUCCEEDED, jobs.c.claimed_at.is_not(None))
            .order_by(jobs.c.finished_at.desc())
            .limit(SAMPLE)
        )
        with self._database.reading_at_once() as connection:
            runs = [Run(*row) for row in connection.execute(query)]
        up = self._engines_up.all().get(engine)
        return pace_of(runs, up.threads if up else 0)

    def place(self, job: Job) -> int:
        """How many jobs go before one that was submitted just now.

        By the line as it was counted last, at most `KEPT_S` ago, and what this process has put
        into it since: else each of ten thousand submissions would count all those before it.
        """
        priority = job.spec.priority
        line = self._kept_line(job)
        if line is None:
            with self._database.reading_at_once() as connection:
                line = line_seen_by(connection, job.account_id, job.spec.engine)
            line.add(priority, -1)  # itself
            self._keep_line(job, line)
        with self._lock:
            place = line.place(priority)
            line.add(priority, 1)
        return place

    def _kept_line(self, job: Job) -> Line | None:
        counted_at, line = self._lines.get((job.spec.engine, job.account_id), (0.0, None))
        return line if time.monotonic() - counted_at < KEPT_S else None

    def _keep_line(self, job: Job, line: Line) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._lines) >= KEPT_LINES:  # those that are out of date go
                kept = self._lines.items()
                self._lines = {key: those for key, those in kept if now - those[0] < KEPT_S}
            self._lines[job.spec.engine, job.account_id] = (now, line)

    def note(self, engine: str, job_id: str, ends_at: int) -> None:
        """Keep a forecast with its job, to see later how right it was: one in a second.

        `ends_at` is in milliseconds since 1970, by the database's clock.
        """
        with self._lock:
            if time.monotonic() - self._noted_at.get(engine, float("-inf")) < KEPT_S:
                return
            self._noted_at[engine] = time.monotonic()
        with self._database.writing_at_once() as connection:
            connection.execute(
                update(jobs).where(jobs.c.id == job_id, ACTIVE).values(forecast_at=ends_at)
            )

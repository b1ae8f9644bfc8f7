"""How many jobs are claimed between a newcomer's submission and its own claim."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from sqlalchemy import func, select

from benchmarks.queue_place import Owner, Place, an_owner
from shared.jobs.job import Job
from shared.jobs.tables import jobs
from tests.crew import wait_until
from tests.factories import a_spec

THREADS = 2  #: of each worker
NEWCOMERS = 10  #: one after the other, while the crowd is worked at


def fairness(at: Place, asked: argparse.Namespace) -> Iterator[str]:
    """One account has thousands queued; others submit one job each."""
    yield from (
        "## Fairness",
        "",
        f"One account has {asked.queued:,} jobs queued; {NEWCOMERS} others submit one each,",
        f"in turn. Workers have {THREADS} threads. Counted are the jobs that were claimed after",
        "the newcomer's row was made (before its commit) and not after its own claim.",
        "",
        "| workers | jobs at once | claimed before it: median | most |",
        "| --- | --- | --- | --- |",
    )
    for workers in asked.workers:
        before = _newcomers(at, asked.queued, workers)
        most, at_once = max(before), workers * THREADS
        yield f"| {workers} | {at_once} | {statistics.median(before):.0f} | {most} |"


def _newcomers(at: Place, queued: int, workers: int) -> list[int]:
    at.empty()
    crowd = an_owner(at.services, f"crowd of {workers}")
    first = at.services.jobs.submit(crowd.account, a_spec(image=crowd.image), {})
    at.fill(first, queued - 1)
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(at.working("benchmarks.queue_worker", threads=THREADS))
        at.services.wakeups.top_up("warp", queued)
        wait_until(lambda: _claimed(at) > 20 * workers, 60)
        return [
            _before(at, an_owner(at.services, f"newcomer {workers} {number}"))
            for number in range(NEWCOMERS)
        ]


def _before(at: Place, newcomer: Owner) -> int:
    job = at.services.jobs.submit(newcomer.account, a_spec(image=newcomer.image), {})
    at.services.wakeups.send("warp")

    def mine() -> Job | None:
        now = at.services.jobs.get(newcomer.account, job.id)
        return now if now.claimed_at else None

    claimed = wait_until(mine, 60)
    time.sleep(0.05)  # the crowd goes on for a while
    with at.services.database.reading_at_once() as connection:
        since = jobs.c.claimed_at.between(job.created_at, claimed.claimed_at)
        others = select(func.count()).where(since, jobs.c.account_id != newcomer.account)
        return connection.scalar(others) or 0


def _claimed(at: Place) -> int:
    with at.services.database.reading_at_once() as connection:
        return connection.scalar(select(func.count()).where(jobs.c.claimed_at.is_not(None))) or 0

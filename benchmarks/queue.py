"""`python -m benchmarks.queue`: what the queue itself costs, beside the least that one could do.

Submissions through the API beside a bare endpoint; commit to claim, and jobs a second, beside
Celery on its own; the statements that a job costs the database; how many jobs go before a
newcomer's. All in one run, on real servers; what is compared takes turns, so that what else the
machine does falls on both.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from benchmarks.queue_load import load, post
from benchmarks.queue_place import Owner, Place, an_owner, cpu_s, place
from benchmarks.queue_rival import NO_OP, bare_celery
from tests.crew import Member, wait_until
from tests.factories import a_spec

GOAL_SUBMISSIONS = 0.6
GOAL_CLAIM = 1.5
SIZE_PX = (1024, 768)


def body_of(owner: Owner) -> bytes:
    """One edit, with a rectangle as mask."""
    body = {
        "image": owner.image,
        "mask": {"rect": [100, 60, 460, 400]},
        "drags": [{"handle": [168, 187], "target": [207, 202]}],
        "options": {"seed": 42},
        "metadata": {},
    }
    return json.dumps(body).encode()


# Submissions


def submissions(at: Place, asked: argparse.Namespace) -> Iterator[str]:
    """Submissions a second, ours and the bare endpoint's in turn."""
    owner = an_owner(at.services, "submits", width=SIZE_PX[0], height=SIZE_PX[1])
    body = body_of(owner)
    ours = post("/v1/jobs", body, f"Authorization: Bearer {owner.key}")
    bare = post("/jobs", body)
    yield "| processes | | a second | answer, median ms | 99 of 100 | CPU ms: API | PostgreSQL |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for processes in asked.processes:
        with (
            at.serving("api", processes=processes) as (our_port, us),
            at.serving("benchmarks.queue_rival", processes=processes) as (bare_port, them),
        ):
            runs: dict[str, list[Run]] = {"Towline": [], "bare": []}
            for _ in range(asked.repeats + 1):
                for name, port, request, member in (
                    ("Towline", our_port, ours, us),
                    ("bare", bare_port, bare, them),
                ):
                    at.empty()
                    runs[name].append(Run(at, member, asked, port, request))
        runs = {name: those[1:] for name, those in runs.items()}
        for name, those in runs.items():
            yield f"| {processes} | {name} | {median_run(those)} |"
        pairs = zip(runs["Towline"], runs["bare"], strict=True)
        ratio = statistics.median(ours.rate / bare.rate for ours, bare in pairs)
        said = f"{ratio:.0%} of the bare endpoint"
        yield f"| {processes} | **{said}**, goal {GOAL_SUBMISSIONS:.0%} | | | | | |"
        print(f"submissions, {processes} processes: {said}", flush=True)


class Run:
    """One load on one server."""

    def __init__(
        self, at: Place, member: Member, asked: argparse.Namespace, port: int, request: bytes
    ) -> None:
        pids = ([member.process.pid], [at.postgres.pid or 0])
        before = [cpu_s(those) for those in pids]
        took_s, each_s = load(port, request, count=asked.submissions, clients=asked.clients)
        self.rate = len(each_s) / took_s
        used = [cpu_s(those) - b for those, b in zip(pids, before, strict=True)]
        self.api_ms, self.postgres_ms = (1e3 * those / len(each_s) for those in used)
        self.median_ms, self.late_ms = (1e3 * value for value in middle_and_late(each_s))


def median_of(runs: Sequence[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


def median_run(runs: Sequence[Run]) -> str:
    names = ("rate", "median_ms", "late_ms", "api_ms", "postgres_ms")
    rate, *times = (median_of(runs, name) for name in names)
    return f"{rate:.0f} | " + " | ".join(f"{ms:.1f}" for ms in times)


def middle_and_late(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    those = sorted(values)
    return statistics.median(those), those[min(len(those) - 1, int(len(those) * 0.99))]


# Commit to claim


def claims(worker: Member) -> dict[str, float]:
    """When the worker had each job in its hands, its claim committed: seconds since 1970."""
    return {
        event["job"]: datetime.fromisoformat(event["timestamp"]).timestamp()
        for event in worker.events("job_claimed")
    }


def starts(worker: Member) -> list[tuple[float, float]]:
    """When each of Celery's own tasks was sent, and when it began."""
    lines = [line.split() for line in worker.log.read_text().splitlines()]
    return [
        (float(a), float(b))
        for a, b in (line for line in lines if len(line) == 2 and line[0][:1].isdigit())
    ]


def idle(at: Place, asked: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Milliseconds until a worker that has nothing to do has begun; ours and Celery's in turn."""
    owner = an_owner(at.services, "waits")
    celery = bare_celery(at.valkey.url)
    at.empty()
    committed: dict[str, float] = {}
    with (
        at.working("benchmarks.queue_worker", threads=asked.threads) as us,
        at.working("benchmarks.queue_rival", "work", threads=asked.threads) as them,
    ):
        for _ in range(asked.idle):
            job = at.services.jobs.submit(owner.account, a_spec(image=owner.image), {})
            committed[job.id] = time.time()
            at.services.wakeups.send("warp")
            time.sleep(random.uniform(0.05, 0.1))
            celery.send_task(NO_OP, args=[time.time()])
            time.sleep(random.uniform(0.03, 0.06))
        wait_until(lambda: claims(us).keys() >= committed.keys(), said=us.log.read_text())
        wait_until(lambda: len(starts(them)) == asked.idle)
        claimed = claims(us)
        ours = [1e3 * (claimed[job] - committed[job]) for job in committed]
        return ours, [1e3 * (began - sent) for sent, began in starts(them)]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--submissions", type=int, default=800)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--idle", type=int, default=200)
    asked = parser.parse_args(arguments)
    with place() as at:
        for line in submissions(at, asked):
            print(line, flush=True)
        ours, theirs = idle(at, asked)
        print(middle_and_late(ours), middle_and_late(theirs))


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m benchmarks.database`: what the stores cost beside a thousand and a million jobs.

Two kinds of crowd. History: jobs that ended, of 200 accounts, and few that wait. Backlog: one
account has everything queued, and 5,000 others, which had their turns, have nothing. In both, a
flat store costs the same whatever the size. Every call is one that the service makes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import event

from shared.jobs.state import JobState
from shared.migrations import migrate
from shared.services import Services, build_services
from shared.settings import Settings
from tests.crowd import in_threads
from tests.crowded import METADATA, Crowd, name_of
from tests.factories import Factory, a_result
from tests.servers.postgres import Postgres

SIZES = (1_000, 100_000, 1_000_000)
ACCOUNTS = 200
IDLE = 5_000


@dataclass
class Place:
    """A filled database, and whom the calls are for."""

    services: Services
    account: str
    image: str


def history(services: Services, size: int) -> Place:
    """Jobs that ended long ago; a hundred wait, twenty run."""
    crowd = Crowd(services.database)
    crowd.accounts(ACCOUNTS)
    crowd.jobs("succeeded", size, accounts=ACCOUNTS)
    crowd.jobs("running", 20, accounts=ACCOUNTS)
    crowd.jobs("queued", 100, accounts=20)
    crowd.settle()
    return Place(services, name_of(0), Factory(services).image(name_of(0)).id)


def backlog(services: Services, size: int) -> Place:
    """One account has everything queued; the others had their turns and have nothing."""
    crowd = Crowd(services.database)
    crowd.accounts(IDLE + 1)
    crowd.jobs("queued", size, first=IDLE)
    crowd.settle()
    return Place(services, name_of(IDLE), Factory(services).image(name_of(IDLE)).id)


def calls(at: Place) -> dict[str, Callable[[], object]]:
    """Each call by its name; a claim is put back, so that the crowd stays as it is."""
    jobs, leases, upkeep = at.services.jobs, at.services.leases, at.services.upkeep
    make = Factory(at.services)
    newest = make.job(at.account, image=at.image)

    def claim() -> None:
        job = leases.claim_next("warp", "benchmark")
        assert job is not None
        running.append(job)

    def succeed() -> None:
        job = running.pop()
        assert leases.succeed(job, a_result(job))

    running: list[Any] = []
    return {
        "submit": lambda: make.job(at.account, image=at.image),
        "get": lambda: jobs.get(at.account, newest.id),
        "claim": claim,
        "heartbeat": lambda: leases.heartbeat(running[-1], 1, 8),
        "succeed": succeed,
        "list": lambda: jobs.page(at.account, limit=50),
        "list, one status": lambda: jobs.page(at.account, limit=50, status=JobState.FAILED),
        "list, metadata of none": lambda: jobs.page(at.account, limit=50, metadata={"k": "v"}),
        "list, metadata of all": lambda: jobs.page(at.account, limit=50, metadata=METADATA),
        "place in the queue": lambda: jobs.places(at.account, "warp", [newest.id]),
        "place of the next": lambda: jobs.next_place(at.account, "warp", 1),
        "sweep: leases": upkeep.take_back_expired_leases,
        "sweep: expiry": upkeep.expire_waiting,
        "sweep: deadlines": upkeep.fail_overdue,
        "sweep: count the due": lambda: upkeep.due_by_engine(32),
        "sweep: lines": upkeep.shorten_lines,
        "sweep: results": upkeep.results_past_retention,
        "sweep: jobs": upkeep.jobs_past_retention,
        "sweep: images": at.services.images.forget_expired,
    }


def measure(at: Place, repeats: int) -> dict[str, float]:
    """The median of each call, in milliseconds, after one to warm up.

    The first sweep of the lines comes before all, as it would have come by then.
    """
    at.services.upkeep.shorten_lines()
    times: dict[str, list[float]] = {}
    made = calls(at)
    for _ in range(repeats + 1):
        for name, call in made.items():
            begun = time.perf_counter()
            call()
            times.setdefault(name, []).append((time.perf_counter() - begun) * 1e3)
    return {name: statistics.median(those[1:]) for name, those in times.items()}


PLANS = (
    "claim",
    "list",
    "list, metadata of all",
    "place in the queue",
    "sweep: leases",
    "sweep: lines",
)


def plans(at: Place) -> Iterator[str]:
    """The plans of the statements that look for rows, of the calls that matter."""
    engine = at.services.database.engine
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN (ANALYZE)"
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith(("SELECT", "WITH", "UPDATE")) and "FROM jobs" in statement:
            sent.append((statement, parameters))

    for name, call in calls(at).items():
        if name not in PLANS:
            continue
        sent.clear()
        event.listen(engine, "before_cursor_execute", note)
        call()
        event.remove(engine, "before_cursor_execute", note)
        with engine.connect() as connection:
            for statement, parameters in dict(sent).items():
                yield f"-- {name}"
                rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
                yield from (str(row[-1]) for row in rows)
                yield ""
            connection.rollback()  # `ANALYZE` does what it explains


#: Workers at once, and accounts that have jobs queued. SQLite is for few workers: those that wait
#: for its one writer are not served in turn.
RUSHES = {"postgresql": ((1, 1), (16, 1), (16, 16)), "sqlite": ((1, 1), (2, 1))}
RUSH = 400  #: jobs of each


def rush(services: Services, workers: int, accounts: int) -> str:
    """Workers that claim and finish all at once: how many a second, how long one claim takes."""
    crowd = Crowd(services.database)
    crowd.accounts(accounts)
    crowd.jobs("queued", RUSH, accounts=accounts)
    crowd.settle()

    def work(worker: str) -> list[float]:
        took = []
        while True:
            begun = time.perf_counter()
            job = services.leases.claim_next("warp", worker)
            if job is None:
                return took
            took.append((time.perf_counter() - begun) * 1e3)
            assert services.leases.succeed(job, a_result(job))

    begun = time.perf_counter()
    took = sorted(chain(*in_threads(work, [(f"worker-{n}",) for n in range(workers)])))
    a_second = len(took) / (time.perf_counter() - begun)
    assert len(took) == RUSH
    middle, late = took[len(took) // 2], took[int(len(took) * 0.99)]
    return f"| {workers} | {accounts} | {a_second:.0f} | {middle:.1f} | {late:.1f} |"


RUSH_HEADER = [
    "| workers at once | accounts | jobs a second | claim, median ms | claim, 99 of 100 |",
    "| --- | --- | --- | --- | --- |",
]


@contextmanager
def databases(kind: str) -> Iterator[Callable[[], Services]]:
    """Makes empty databases of a kind."""
    with tempfile.TemporaryDirectory(prefix="towline-benchmark-") as name:
        folder = Path(name)
        # As in service: synced to disk, and vacuumed
        server = None
        if kind == "postgresql":
            server = Postgres(folder.parent, fsync="on", full_page_writes="on", autovacuum="on")
            server.start()
        made: list[Services] = []

        def make() -> Services:
            number = len(made)
            url = server.url(server.create()) if server else f"sqlite:///{folder}/{number}.db"
            migrate(url)
            settings = Settings(home=folder / str(number), database_url=url, lease_s=600)
            made.append(build_services(settings))
            return made[-1]

        try:
            yield make
        finally:
            for services in made:
                services.database.close()
            if server is not None:
                server.close()


def table(results: dict[str, dict[int, dict[str, float]]]) -> Iterator[str]:
    """A row for each call, a column for each crowd and size."""
    columns = [(crowd, size) for crowd, sizes in results.items() for size in sizes]
    yield "| ms | " + " | ".join(f"{crowd} {size:,}" for crowd, size in columns) + " |"
    yield "| --- |" + " --- |" * len(columns)
    for name in next(iter(next(iter(results.values())).values())):
        cells = [f"{results[crowd][size][name]:.1f}" for crowd, size in columns]
        yield f"| {name} | " + " | ".join(cells) + " |"


def preamble(arguments: list[str]) -> list[str]:
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return [
        "# The stores beside very many jobs",
        "",
        " ".join(["    python -m benchmarks.database", *arguments]).rstrip(),
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, shared with other work; Python",
        f"{platform.python_version()}, commit {commit or 'unknown'}. Milliseconds, the median of a",
        "number of calls through the store, commits synced to disk. History: so many jobs that",
        f"ended, of {ACCOUNTS} accounts, and 120 that wait or run. Backlog: so many queued by one",
        f"account, beside {IDLE:,} accounts that had their turns and have nothing. Counts stop at",
        "10,000 rows (`CEILING`), so they grow up to there and no further. Workers at once are",
        "threads of one process; each claims and finishes until nothing is due.",
    ]


def main(arguments: list[str]) -> None:
    """Measure everything, print it, write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.database", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", default=["postgresql", "sqlite"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/database.md"))
    asked = parser.parse_args(arguments)
    lines = preamble(arguments)
    for kind in asked.kinds:
        results: dict[str, dict[int, dict[str, float]]] = {}
        explained: list[str] = []
        with databases(kind) as make:
            for crowd in (history, backlog):
                for size in asked.sizes:
                    at = crowd(make(), size)
                    results.setdefault(crowd.__name__, {})[size] = measure(at, asked.repeats)
                    print(kind, crowd.__name__, size, flush=True)
                    if size == max(asked.sizes):
                        explained += [f"-- {crowd.__name__} {size:,}", "", *plans(at)]
            rushes = [rush(make(), *those) for those in RUSHES[kind]]
        lines += ["", f"## {kind}", "", *table(results), "", *RUSH_HEADER, *rushes]
        lines += ["", "Plans:", ""]
        lines += [f"    {line}".rstrip() for line in explained]
        print("\n".join([*table(results), *rushes]), flush=True)
    asked.out.write_text("\n".join(lines).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m benchmarks.result_cache`: what looking for an earlier result costs a submission.

On PostgreSQL and on SQLite, beside many results that the account keeps. What is compared takes
turns, so that a busy machine is busy for all of it. Times are of the store's call, without HTTP.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from shared.accounts.limits import UNLIMITED
from shared.audit.trail import Actor, act_as
from shared.edits import JobSpec
from shared.jobs.cache_keys import Contents, cache_key
from shared.jobs.job import Job
from shared.migrations import migrate
from shared.services import build_services
from shared.settings import Settings
from tests.crowded import Crowd, name_of
from tests.factories import Factory, a_result, a_spec
from tests.servers.postgres import Postgres

DIGEST = "benchmark-1"
#: As many bytes as a hash has, another for each row, by the functions that both databases know.
KEYS = {
    "sqlite": "UPDATE jobs SET cache_key = randomblob(32) WHERE status = 'succeeded'",
    "postgresql": "UPDATE jobs SET cache_key = sha256(id::bytea) WHERE status = 'succeeded'",
}


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """The URL of an empty one of each kind."""
    postgres = Postgres(fsync="on", full_page_writes="on")
    postgres.start()
    try:
        yield {
            "PostgreSQL": postgres.url(postgres.create()),
            "SQLite": f"sqlite:///{folder / 'towline.db'}",
        }
    finally:
        postgres.close()


class Place:
    """A database with many kept results of one account, which submits."""

    def __init__(self, url: str, folder: Path, kept: int) -> None:
        migrate(url)
        self.services = build_services(Settings(home=folder, database_url=url, lease_s=86_400))
        crowd = Crowd(self.services.database)
        crowd.accounts(1)
        crowd.jobs("succeeded", kept)
        with self.services.database.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(KEYS[connection.dialect.name]))
        crowd.settle()
        self.account = name_of(0)
        self.image = Factory(self.services).image(self.account).id
        self.services.engines_up.seen("worker", "warp", DIGEST, 1)
        self.known = self._run(self._submit(Contents("a" * 64, None)))

    def calls(self) -> dict[str, Callable[[], object]]:
        """What is measured, by its name."""
        return {
            "without a seed": lambda: self._submit(None),
            "with a seed, nothing found": lambda: self._submit(Contents(secrets.token_hex(), None)),
            "with a seed, answered": lambda: self._submit(Contents("a" * 64, None)),
        }

    def _submit(self, contents: Contents | None) -> Job:
        return self.services.jobs.submit(
            self.account, self._spec(), {}, limits=UNLIMITED, contents=contents
        )

    def _spec(self) -> JobSpec:
        return a_spec(self.image)

    def _run(self, job: Job) -> Job:
        running = self.services.leases.claim_next("warp", "worker")
        assert running is not None
        assert running.id == job.id
        made_by = self.services.maker(DIGEST)
        key = cache_key(self.account, job.spec, Contents("a" * 64, None), made_by)
        result = {**a_result(running), "stored_bytes": 1, "cache_key": key}
        assert self.services.leases.succeed(running, result)
        return job


def measured(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each call, in turns."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            took[name].append(1000 * (time.perf_counter() - began))
    return {name: those[repeats // 10 :] for name, those in took.items()}  # less the first ones


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kept", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=500)
    asked = parser.parse_args()
    act_as(Actor("key", "benchmark"))
    print(f"{asked.kept} kept results, {asked.repeats} turns, load {os.getloadavg()[0]:.1f}\n")
    print("| | a submission | median ms | a tenth is below | of the first's tenth |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        for kind, url in urls.items():
            place = Place(url, Path(name), asked.kept)
            took = measured(place.calls(), asked.repeats)
            tenths = {call: statistics.quantiles(those, n=10)[0] for call, those in took.items()}
            first = tenths["without a seed"]
            for call, low in tenths.items():
                middle = statistics.median(took[call])
                print(f"| {kind} | {call} | {middle:.2f} | {low:.2f} | {low / first:.2f} |")
            place.services.database.close()


if __name__ == "__main__":
    main()

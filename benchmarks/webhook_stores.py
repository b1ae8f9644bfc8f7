"""`python -m benchmarks.webhook_stores`: what webhooks cost the database.

What the end of a job costs with them and without (an account that has no endpoint, in turn with a
store that tells nobody), and what is claimed, recorded and listed beside a thousand and a million
deliveries (`--sizes`). SQLite in memory, and a PostgreSQL of its own with `--postgres`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from shared.migrations import migrate
from shared.services import Services, build_services
from shared.settings import Settings
from shared.webhooks.dispatch import Claim, Outcome
from tests.crowded import Crowd, endpoint_of, name_of
from tests.factories import Factory, a_result
from tests.servers.postgres import Postgres

SIZES = [1_000, 1_000_000]
ACCOUNTS = 200
TIMES = 200
ROUNDS = 15
AT_ONCE = 50
SECRET: dict[str, Any] = {"secret_key": "only for benchmarks"}


@contextmanager
def services_on(url: str, folder: Path) -> Iterator[Services]:
    migrate(url)
    # No broker: wake-ups are no part of what is measured, and none is waited for.
    services = build_services(
        Settings(home=folder, database_url=url, redis_url="redis://127.0.0.1:1/0", **SECRET)
    )
    services.database.after_commit("webhook deliveries", lambda: None)
    yield services
    services.database.close()


def end_of_a_job(services: Services) -> None:
    """Milliseconds of `succeed`, three ways in turn."""
    make = Factory(services)
    quiet, told = make.account(), make.account()
    make.endpoint(told)
    images = {account: make.image(account).id for account in (quiet, told)}
    times: dict[str, list[float]] = {"no webhooks": [], "no endpoint": [], "one endpoint": []}
    for number in range(TIMES * 3):
        way = list(times)[number % 3]
        account = told if way == "one endpoint" else quiet
        job = make.running(account, image=images[account])
        with patch("shared.jobs.moves.tell_of_jobs") if way == "no webhooks" else _nothing():
            times[way].append(_ms(lambda job=job: services.leases.succeed(job, a_result(job))))
    base = statistics.median(times["no webhooks"])
    for way, those in times.items():
        median = statistics.median(those)
        print(f"  end of a job, {way}: {median:.3f} ms, ratio {median / base:.3f}")


class Sending:
    """Claims and records, without a message between them."""

    def __init__(self, services: Services) -> None:
        self._dispatch = services.webhooks.dispatch
        self._after, self._claims = "", list[Claim]()

    def claim(self) -> None:
        self._claims, self._after = self._dispatch.claim(
            self._after, lambda lane, taken: 5, AT_ONCE
        )
        if not self._claims:  # that was the end of the walk
            self._claims, self._after = self._dispatch.claim("", lambda lane, taken: 5, AT_ONCE)

    def record(self) -> None:
        well: dict[str, Any] = {"is_success": True, "is_gone": False, "retry_in_ms": None}
        assert self._claims
        self._dispatch.record([Outcome(each, duration_ms=1, **well) for each in self._claims])


def beside(services: Services, size: int) -> dict[str, float]:
    """Median milliseconds of what workers and owners do, beside so many deliveries."""
    crowd = Crowd(services.database)
    crowd.accounts(ACCOUNTS)
    crowd.jobs("succeeded", 100, accounts=ACCOUNTS)
    crowd.deliveries("succeeded", size, accounts=ACCOUNTS)
    crowd.deliveries("failed", 1000, accounts=ACCOUNTS)
    crowd.deliveries("pending", 20 * ROUNDS * AT_ONCE, accounts=ACCOUNTS)
    crowd.settle()
    times: dict[str, list[float]] = {}

    def note(name: str, call: Callable[[], object]) -> None:
        times.setdefault(name, []).append(_ms(call))

    page = services.webhooks.deliveries.page
    sending = Sending(services)
    for _ in range(ROUNDS):
        note("claim 50", sending.claim)
        note("record 50", sending.record)
        note("is anything due", services.webhooks.upkeep.is_anything_due)
        note("give up", services.webhooks.upkeep.give_up_stale)
        note("forget", services.webhooks.upkeep.forget_old)
        note("a page", lambda: page(name_of(0), limit=50))
        note("a page of one endpoint",
             lambda: page(name_of(0), limit=50, endpoint_id=endpoint_of(0)))  # fmt: skip
    return {name: statistics.median(those) for name, those in times.items()}


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def measure(make_url: Callable[[], str], folder: Path, sizes: list[int]) -> None:
    with services_on(make_url(), folder) as services:
        end_of_a_job(services)
    results = {}
    for size in sizes:
        with services_on(make_url(), folder) as services:
            results[size] = beside(services, size)
    small, large = (results[size] for size in sizes)
    for name, ms in small.items():
        print(f"  {name}: {ms:.2f} ms beside {sizes[0]}, {large[name]:.2f} ms beside {sizes[1]},"
              f" ratio {large[name] / ms:.2f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES)
    given = parser.parse_args()
    if given.postgres:
        server = Postgres()
        server.start()
        print("PostgreSQL")
        with tempfile.TemporaryDirectory() as name:
            measure(lambda: server.url(server.create()), Path(name), given.sizes)
        server.close()
        return
    print("SQLite")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory) as name:
        paths = (Path(name) / f"{n}.db" for n in range(9))
        measure(lambda: f"sqlite:///{next(paths)}", Path(name), given.sizes)


if __name__ == "__main__":
    main()

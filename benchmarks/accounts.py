"""`python -m benchmarks.accounts`: what keys and limits cost a request, a submission and a claim.

Ratios in one run: each cost stands beside that of the same call without it.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shared.accounts.tables import accounts
from shared.migrations import migrate
from shared.services import Services, build_services
from shared.settings import Settings
from tests.broker import Valkey
from tests.crowded import Crowd, name_of
from tests.factories import Factory
from tests.servers.postgres import Postgres

ACCOUNTS = 200
LIMIT = 1_000_000  #: that nobody reaches


def measure(call: Callable[[], object], repeats: int) -> float:
    """Milliseconds that nine in ten exceed, after a tenth as many to warm up.

    Not the median: beside other work that is what the machine's scheduler costs.
    """
    times = []
    for _ in range(repeats // 10 + repeats):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1e3)
    return sorted(times[repeats // 10 :])[repeats // 10]


def limit_everybody(services: Services, value: int | None) -> None:
    """Limits of one's own that hold nobody back, or none."""
    names = ("queued_jobs", "running_jobs", "stored_bytes", "pixels_per_month")
    with services.database.writing() as connection:
        values = {f"limit_{name}": value and value * 10**9 for name in names}
        connection.execute(accounts.update().values(values))


def rows_of(services: Services, history: int, repeats: int) -> dict[str, float]:
    """Each call and its milliseconds, beside `history` jobs that ended."""
    crowd = Crowd(services.database)
    crowd.accounts(ACCOUNTS)
    crowd.jobs("succeeded", history, accounts=ACCOUNTS)
    crowd.jobs("running", 20, accounts=20)
    crowd.jobs("queued", 1000, accounts=20)
    crowd.settle()
    make, account = Factory(services), name_of(0)
    image = make.image(account).id
    key = services.accounts.create_key("crowd 0").text
    services.accounts.identify(key)  # notes the use

    def claim() -> None:
        job = services.leases.claim_next("warp", "w")
        assert job is not None
        services.leases.give_back(job)

    found = {
        "SELECT 1": measure(services.database.ping, repeats),
        "look a key up": measure(lambda: services.accounts.identify(key), repeats),
        "count a request in Redis": measure(
            lambda: services.limiter.ask(account, 1_000_000), repeats
        ),
        "PING to Redis": measure(services.wakeups.ping, repeats),
        "usage of an account": measure(lambda: services.accounts.usage(account), repeats),
    }
    for named, value in (("no limit", None), ("limits", 1)):
        limit_everybody(services, value)
        found[f"submit, {named}"] = measure(lambda: make.job(account, image=image), repeats)
        found[f"claim and give back, {named}"] = measure(claim, repeats)
    return found


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 1_000_000])
    chosen = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {chosen.repeats} repeats")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        valkey, postgres = Valkey(folder), Postgres()
        valkey.start()
        postgres.start()
        for size in chosen.sizes:
            for kind in ("sqlite", "postgresql"):
                url = f"sqlite:///{folder / str(size)}.db"
                if kind == "postgresql":
                    url = postgres.url(postgres.create())
                migrate(url)
                services = build_services(
                    Settings(home=folder, database_url=url, redis_url=valkey.url)
                )
                print(f"\n{kind}, beside {size:,} jobs")
                for call, ms in rows_of(services, size, chosen.repeats).items():
                    print(f"  {call:32} {ms:8.3f} ms", flush=True)
                services.database.close()
        valkey.kill()
        postgres.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

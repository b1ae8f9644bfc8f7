"""What a slice of the orphan collector costs, by how much is stored.

    python -m benchmarks.orphans [--jobs 1000 10000 100000] [--s3 URL BUCKET KEY SECRET]

Each job has a row and two objects (picture and mask) of one byte, all of one account and all
needed: nothing is deleted, everything is listed and asked about. SQLite and a folder in a
temporary directory; with `--s3` the objects go into an empty bucket instead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from shared.edits import Drag, JobSpec, Point
from shared.ids import new_id
from shared.jobs.tables import jobs
from shared.migrations import migrate
from shared.objects import result_key
from shared.orphans import Orphans
from shared.services import Services, build_services
from shared.settings import Settings

OPTIONS = {"candidates": 1, "seed": 1, "format": "png"}
SPEC = JobSpec(image="img_x", mask=None, rounds=((Drag(Point(1, 1), Point(2, 2)),),),
               engine="warp", options=OPTIONS)  # fmt: skip


def fill(services: Services, count: int) -> None:
    """So many jobs that have succeeded, and their objects."""
    key = services.accounts.create_key("benchmark")
    account = services.accounts.account_of(key.text) or ""
    with services.database.writing() as connection:
        connection.execute(insert(jobs), [_row(account, new_id("job")) for _ in range(count)])
    with services.database.reading() as connection:
        results = connection.scalars(select(jobs.c.result)).all()
    keys: Iterable[str] = (
        key for result in results for key in (result["candidates"][0]["key"], result["mask_key"])
    )
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: _store(services, key), keys))


def _store(services: Services, key: str) -> None:
    if services.settings.s3_url:
        services.objects.put(key, b"x")
        return
    path = services.settings.objects_folder / key  # without the sync of a real put
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def _row(account: str, job: str) -> dict[str, Any]:
    names = {name: result_key(account, job, 1, name) for name in ("0.png", "mask.png")}
    candidate = {"index": 0, "seed": 1, "sha256": "0" * 64, "width": 64, "height": 48}
    return {
        "id": job, "account_id": account, "engine": "warp", "priority": 1, "metadata": {},
        "spec": SPEC.to_json(), "image_id": "img_x", "timeout_s": 300, "status": "succeeded",
        "attempt": 1, "losses": 0, "retries": 0, "run_after": 0, "step": 1, "created_at": 1,
        "result": {"candidates": [{**candidate, "key": names["0.png"]}],
                   "mask_key": names["mask.png"], "warnings": [], "timings": {}},
    }  # fmt: skip


def measure(services: Services) -> list[float]:
    """Milliseconds of each slice of one walk."""
    orphans = Orphans(services.database, services.objects, grace_s=-1000)
    times = []
    while not orphans._rests_until:
        begun_s = time.perf_counter()
        assert orphans.collect() == 0
        times.append((time.perf_counter() - begun_s) * 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--s3", nargs=4, metavar=("URL", "BUCKET", "KEY", "SECRET"))
    chosen = parser.parse_args()
    print("| objects | slices | median ms | slowest ms | whole walk s |")
    print("| --- | --- | --- | --- | --- |")
    for count in chosen.jobs:
        with tempfile.TemporaryDirectory(prefix="towline-") as folder:
            names = ("s3_url", "s3_bucket", "s3_access_key", "s3_secret_key")
            settings = Settings(
                home=Path(folder), **dict(zip(names, chosen.s3 or (), strict=False))
            )
            migrate(settings.database)
            services = build_services(settings)
            fill(services, count)
            times = measure(services)
            services.database.close()
        print(
            f"| {2 * count} | {len(times)} | {statistics.median(times):.1f} |"
            f" {max(times):.1f} | {sum(times) / 1000:.1f} |"
        )


if __name__ == "__main__":
    main()

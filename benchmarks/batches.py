"""`python -m benchmarks.batches`: ten thousand edits as one, from a folder and back into one.

The command line (`towline batch run`) sends pictures of 512 x 512 and a manifest to real servers;
the client, a worker and the API are killed (SIGKILL) once each, and started again. Then: did each
item end once, how many items a second beside the engine alone on the same cores (decoding and
encoding included), how much memory the API and the client took, and is the archive whole. It fails
(exit status 1) if anything was lost or made twice.

`--large` sends 50,000 lines of 200 MiB instead and looks at nothing but memory.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select, text

from benchmarks.batch_edits import line, pictures
from benchmarks.queue_place import SECRET, Place, Process, place
from shared.batches.tables import batches
from shared.jobs.tables import job_events, jobs
from tests.broker import free_port
from tests.crew import Member, wait_until

LONG_S = 3600.0


class Peak:
    """The most memory that any process of a kind took: `VmHWM`, its family's largest."""

    def __init__(self) -> None:
        self.mib = 0.0

    def look(self, pid: int) -> None:
        """At a process and its children."""
        for each in [pid, *_children(pid)]:
            try:
                status = Path(f"/proc/{each}/status").read_text()
            except OSError:
                continue
            for row in status.splitlines():
                if row.startswith("VmHWM:"):
                    self.mib = max(self.mib, int(row.split()[1]) / 1024)


def _children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Service:
    """The processes of a service on a place's servers; each can be killed and started again."""

    def __init__(self, at: Place, key: str, workers: int, threads: int) -> None:
        self.at, self.key = at, key
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = threads
        self.members: dict[str, Member] = {}
        self.peaks = {"API": Peak(), "client": Peak(), "worker-io": Peak()}
        self.start("io", "worker", "run", "--queues", "maintenance,webhooks", worker_threads=4)
        self.start("beat", "worker", "beat")
        for n in range(workers):
            self.start_worker(n)
        self.start_api()

    def start(self, name: str, module: str, *command: str, **changes: object) -> None:
        folder = self.at.folder / f"{name}-{time.monotonic_ns()}"
        folder.mkdir()
        crew = Process(self.at.services, folder, **changes)
        self.members[name] = crew.start(module, *command)

    def start_worker(self, n: int) -> None:
        queues = ("run", "--queues", "warp")
        self.start(f"warp {n}", "worker", *queues, worker_threads=self._threads)

    def start_api(self) -> None:
        self.start("api", "api", "serve", port=self.port, api_processes=1)
        wait_until(self._answers, 120)

    def kill(self, name: str) -> None:
        """SIGKILL, its children too."""
        member = self.members[name]
        self.look()
        for pid in [*_children(member.process.pid), member.process.pid]:
            os.kill(pid, signal.SIGKILL)
        member.process.wait()

    def look(self) -> None:
        self.peaks["API"].look(self.members["api"].process.pid)
        self.peaks["worker-io"].look(self.members["io"].process.pid)

    def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.get(f"{self.url}{path}", headers=headers, trust_env=False, timeout=30).json()

    def end(self) -> None:
        for member in self.members.values():
            for pid in [*_children(member.process.pid), member.process.pid]:
                if member.process.poll() is None:
                    os.kill(pid, signal.SIGKILL)
            member.process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def alone(folder: Path, cores: int, seconds: float) -> float:
    """Items a second of the engine by itself, on so many cores."""
    command = [sys.executable, "-m", "benchmarks.batch_engine", str(folder), str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(cores)
    ]
    said = [process.communicate()[0].split() for process in started]
    return sum(int(made) / float(took) for made, took in said)


@contextmanager
def client(service: Service, manifest: Path, images: Path, out: Path) -> Iterator[Member]:
    """`towline batch run`, in a process group of its own."""
    command = [sys.executable, "-m", "towline.cli", "batch", "run", str(manifest), "--json"]
    command += ["--images", str(images), "--out", str(out)]
    environment = {**os.environ, "TOWLINE_URL": service.url, "TOWLINE_API_KEY": service.key}
    log = out.parent / f"client-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        yield Member(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def ended(at: Place) -> int:
    with at.services.database.reading() as connection:
        those = select(func.count()).where(jobs.c.finished_at.is_not(None))
        return connection.scalar(those) or 0


def run(at: Place, asked: argparse.Namespace, say: Callable[[str], None]) -> bool:
    images, out = at.folder / "images", at.folder / "out"
    images.mkdir()
    paths = pictures(images, asked.cases, asked.pictures)
    manifest = at.folder / "manifest.jsonl"
    rows = (line(f"item-{n}", paths[n % len(paths)].name) for n in range(asked.items))
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = alone(images, asked.cores, asked.alone_s)
    service = Service(
        at, at.services.accounts.create_key("sender").text, asked.cores, asked.threads
    )
    try:
        begun = time.monotonic()
        with client(service, manifest, images, out) as first:
            watch(service, first, lambda: ended(at) >= asked.items // 4)
            first.signal(signal.SIGKILL)
        say(f"client killed after {ended(at)} items, {time.monotonic() - begun:.0f} s")
        with client(service, manifest, images, out) as second:
            watch(service, second, lambda: ended(at) >= asked.items // 2)
            service.kill("warp 0")
            service.start_worker(0)
            say(f"a worker killed after {ended(at)}")
            watch(service, second, lambda: ended(at) >= asked.items * 3 // 4)
            service.kill("api")
            service.start_api()
            say(f"the API killed after {ended(at)}")
            watch(service, second, lambda: second.process.poll() is not None)
            status = second.process.returncode
        took = time.monotonic() - begun
        say(f"client ended with {status} after {took:.0f} s")
        good = judge(at, service, asked, out, say) and status == 0
        after = alone(images, asked.cores, asked.alone_s)
        with at.services.database.reading() as connection:
            query = text("SELECT min(claimed_at), max(finished_at) FROM jobs")
            first_ms, last_ms = connection.execute(query).one()
        rate, engine = 1000 * asked.items / (last_ms - first_ms), (before + after) / 2
        say(f"engine alone {before:.1f} and {after:.1f} items/s, the batch {rate:.1f}")
        say(f"ratio {rate / engine:.2f} (goal 0.85)")
        for name, peak in service.peaks.items():
            say(f"peak memory of {name}: {peak.mib:.0f} MiB")
        return good
    finally:
        service.end()


def watch(service: Service, member: Member, happened: Callable[[], bool]) -> None:
    """Wait, and look at everybody's memory; a client that ends early has said why."""
    until = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < until, "took too long"
        assert member.process.poll() in (None, 0), member.log.read_text()[-2000:]
        service.look()
        service.peaks["client"].look(member.process.pid)
        time.sleep(0.5)


def judge(
    at: Place, service: Service, asked: argparse.Namespace, out: Path, say: Callable[[str], None]
) -> bool:
    """Whether each item ended once, and is in the folder and in the archive."""
    succeeded = func.json_extract_path_text(job_events.c.data, "status") == "succeeded"
    with at.services.database.reading() as connection:
        made = connection.scalar(select(func.count()).select_from(jobs))
        sent = connection.scalar(select(func.count()).select_from(batches))
        ends = connection.scalar(select(func.count()).where(succeeded))
        batch_id = connection.scalar(select(batches.c.id))
    files = sum(1 for path in out.rglob("*.png"))
    service.look()
    before = service.peaks["API"].mib
    archive = at.folder / "archive.zip"
    headers = {"Authorization": f"Bearer {service.key}"}
    url = f"{service.url}/v1/batches/{batch_id}/archive"
    begun = time.monotonic()
    with (
        archive.open("wb") as file,
        httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer,
    ):
        for piece in answer.iter_bytes():
            file.write(piece)
    took = time.monotonic() - begun
    names = zipfile.ZipFile(archive).namelist()
    service.look()
    say(f"jobs {made}, batches {sent}, ends {ends}, files {files}, in the archive {len(names) - 1}")
    size = archive.stat().st_size / 2**20
    grown = service.peaks["API"].mib - before
    say(f"archive of {size:.0f} MiB in {took:.0f} s; the API's peak grew by {grown:.0f} MiB")
    wanted = (asked.items, 1, asked.items, asked.items, asked.items + 1)
    return (made, sent, ends, files, len(names)) == wanted


def run_large(at: Place, say: Callable[[str], None]) -> bool:
    """50,000 lines of nearly 200 MiB: what the API and the worker that reads them take."""
    images = at.folder / "images"
    images.mkdir()
    (path,) = pictures(images, None, 1)
    service = Service(at, at.services.accounts.create_key("sender").text, 0, 1)
    headers = {"Authorization": f"Bearer {service.key}"}
    try:
        with httpx.Client(
            base_url=service.url, headers=headers, timeout=300, trust_env=False
        ) as api:
            image = api.post(
                "/v1/images", content=path.read_bytes(), headers={"Content-Type": "image/png"}
            ).json()["id"]
            service.look()
            peaks = {name: peak.mib for name, peak in service.peaks.items()}
            padding = {f"k{n}": "x" * 480 for n in range(8)}

            def lines() -> Iterator[bytes]:
                for n in range(50_000):
                    row = {**line(f"item-{n}", image), "metadata": padding}
                    yield json.dumps(row).encode() + b"\n"

            begun = time.monotonic()
            sent = api.post(
                "/v1/batches", content=lines(), headers={"Content-Type": "application/jsonl"}
            ).json()
            say(f"50,000 lines sent in {time.monotonic() - begun:.0f} s: {sent['status']}")
            begun = time.monotonic()
            while (batch := api.get(f"/v1/batches/{sent['id']}").json())["status"] == "validating":
                service.look()
                time.sleep(1)
            say(f"{batch['status']} after {time.monotonic() - begun:.0f} s: {batch['counts']}")
            service.look()
            for name in ("API", "worker-io"):
                grown = service.peaks[name].mib - peaks[name]
                say(f"{name}: peak {service.peaks[name].mib:.0f} MiB, grown by {grown:.0f} MiB")
            begun = time.monotonic()
            canceled = api.post(f"/v1/batches/{sent['id']}/cancel").json()
            say(f"canceled in {time.monotonic() - begun:.1f} s: {canceled['counts']}")
            return bool(batch["counts"]["total"] == 50_000)
    finally:
        service.end()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=50, help="different ones")
    parser.add_argument("--cases", type=Path, help="a folder of photographs; else the sample")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--alone-s", type=float, default=30, help="of the engine alone, twice")
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args(arguments)
    begun = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {words}", flush=True)

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    assert SECRET
    with place() as at:
        good = run_large(at, say) if asked.large else run(at, asked, say)
    print("all well" if good else "NOT WELL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

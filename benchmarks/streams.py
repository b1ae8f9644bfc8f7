"""`python -m benchmarks.streams`: many open event streams on one API process, and what others pay.

One API process (gunicorn, default settings) on PostgreSQL. Jobs move all the time, as workers would
move them: claimed, a few steps, given back. Four clients ask for jobs and submit them meanwhile, in
turns without streams and with them, so that what else the machine does falls on both. An event is
as old as the time from the answer of its commit until a client has it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from shared.migrations import migrate
from shared.services import Services, build_services
from shared.settings import Settings
from tests.api.calling import DRAG
from tests.broker import Valkey
from tests.factories import Factory
from tests.integration.listening import Listeners
from tests.integration.serving import Server
from tests.servers.postgres import Postgres

CLIENTS = 4
STEPS = 5


@dataclass
class Followed:
    """A job that is followed, and its account's key."""

    job_id: str
    key: str


class Movers:
    """Claims jobs, makes a few steps and gives them back; remembers when each step was written."""

    def __init__(self, services: Services, a_second: float) -> None:
        self._services = services
        self._pause_s = 1 / a_second
        self._is_over = threading.Event()
        self.written: dict[tuple[str, int, int], float] = {}  # job, attempt, step
        self._thread = threading.Thread(target=self._move, daemon=True)
        self._thread.start()

    def _move(self) -> None:
        leases = self._services.leases
        while not self._is_over.is_set():
            job = leases.claim_next("warp", "benchmark")
            if job is None:
                continue
            for step in range(1, STEPS + 1):
                self._is_over.wait(self._pause_s)
                leases.heartbeat(job, step, STEPS)
                self.written[job.id, job.attempt, step] = time.monotonic()
            leases.give_back(job)

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()


def follow(services: Services, count: int) -> list[Followed]:
    """As many jobs, each of an account of its own, so that all have their turns."""
    made, make = [], Factory(services)
    for number in range(count):
        key = services.accounts.create_key(f"followed {number}").text
        job = make.job(services.accounts.account_of(key), timeout_s=86_400)
        made.append(Followed(job.id, key))
    return made


def ask(server: Server, services: Services, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each kind of request; four clients, one request after the other."""
    key = services.accounts.create_key("asks").text
    account_id = services.accounts.account_of(key) or ""
    body = {"image": Factory(services).image(account_id).id, "drags": [DRAG]}
    ends = time.monotonic() + seconds
    times: dict[str, list[float]] = {"GET a job": [], "POST a job": []}

    def one(_: int) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
            while time.monotonic() < ends:
                posted = timed(times["POST a job"], lambda: client.post("/v1/jobs", json=body))
                look = partial(client.get, f"/v1/jobs/{posted.json()['id']}")
                for _ in range(4):
                    assert timed(times["GET a job"], look).status_code == 200
                client.post(f"/v1/jobs/{posted.json()['id']}/cancel")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, range(CLIENTS)))
    return times


def timed(times: list[float], call: Callable[[], httpx.Response]) -> httpx.Response:
    begun = time.perf_counter()
    answer = call()
    times.append((time.perf_counter() - begun) * 1000)
    return answer


def memory_mb(pid: int) -> float:
    """What the process has to itself: its proportional share of memory (PSS)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Pss:")[1].split()[0]) / 1024


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def cpu_s(pid: int) -> float:
    """Seconds that the process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000)[round(share * 1000) - 1]


def age_ms(listeners: Listeners, movers: Movers, since: float) -> list[float]:
    """How old each step was when it came."""
    ages = []
    for listener in listeners.all:
        for came, event in listener.events:
            if event.type == "progress" and came > since:
                data = event.data
                written = movers.written.get((data["job"], data["attempt"], data["step"]))
                ages += [(came - written) * 1000] if written is not None else []
    return ages


@dataclass
class Round:
    """What one turn found."""

    times: dict[str, list[float]]
    memory_mb: float
    threads: int
    cpu_s: float
    seconds: float
    ages_ms: list[float]


def measure(
    server: Server, services: Services, movers: Movers, those: list[Followed], seconds: float
) -> Round:
    """Ask for some seconds beside as many streams as there are jobs to follow."""
    (pid,) = server.workers()
    listeners = Listeners(server.port)
    for each in those:
        listeners.listen(each.job_id, each.key)
    while not all(listener.events for listener in listeners.all):
        time.sleep(0.1)
    since, computed = time.monotonic(), cpu_s(pid)
    times = ask(server, services, seconds)
    used, lasted = cpu_s(pid) - computed, time.monotonic() - since
    assert not any(listener.has_ended for listener in listeners.all)
    ages = age_ms(listeners, movers, since)
    found = Round(times, memory_mb(pid), threads(pid), used, lasted, ages)
    listeners.close()
    time.sleep(3)  # until the server has seen that they are gone
    return found


def idle_share(server: Server, those: list[Followed], seconds: float) -> float:
    """How much of a core the process uses while streams are open and nobody asks for anything."""
    (pid,) = server.workers()
    listeners = Listeners(server.port)
    for each in those:
        listeners.listen(each.job_id, each.key)
    while not all(listener.events for listener in listeners.all):
        time.sleep(0.1)
    began, computed = time.monotonic(), cpu_s(pid)
    time.sleep(seconds)
    share = (cpu_s(pid) - computed) / (time.monotonic() - began)
    listeners.close()
    time.sleep(3)
    return share


def report(without: list[Round], beside: list[Round], count: int, idle: float) -> None:
    def all_of(rounds: list[Round], kind: str) -> list[float]:
        return [each for one in rounds for each in one.times[kind]]

    print(f"| milliseconds | requests | without | beside {count} streams | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for kind in ("GET a job", "POST a job"):
        a, b = all_of(without, kind), all_of(beside, kind)
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            x, y = percentile(a, share), percentile(b, share)
            print(f"| {kind}, {name} | {len(a)}, {len(b)} | {x:.1f} | {y:.1f} | {y / x:.2f} |")
    ages = [age for one in beside for age in one.ages_ms]
    print(f"\n{len(ages)} steps of followed jobs came {percentile(ages, 0.5):.0f} ms (p50),")
    print(f"{percentile(ages, 0.99):.0f} ms (p99) after their commit.\n")
    print(f"| the API process | without | beside {count} streams |")
    print("| --- | --- | --- |")
    before, after = without[0], beside[-1]  # threads that were needed once are kept
    print(f"| memory, MB | {before.memory_mb:.0f} | {after.memory_mb:.0f} |")
    print(f"| threads | {before.threads} | {after.threads} |")
    x, y = (sum(one.cpu_s for one in rounds) for rounds in (without, beside))
    asked = [
        sum(len(t) for one in rounds for t in one.times.values()) for rounds in (without, beside)
    ]
    lasted = [sum(one.seconds for one in rounds) for rounds in (without, beside)]
    print(f"| share of a core, with requests | {x / lasted[0]:.2f} | {y / lasted[1]:.2f} |")
    print(f"| the same by request, ms | {1000 * x / asked[0]:.1f} | {1000 * y / asked[1]:.1f} |")
    print(f"| share of a core, without requests | | {idle:.2f} |")


def preamble() -> None:
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    print("# Event streams on one API process\n")
    print(f"    python -m benchmarks.streams {' '.join(sys.argv[1:])}\n")
    print(f"{platform.machine()}, {os.cpu_count()} cores, shared with other work and with the")
    print(f"clients and PostgreSQL of this benchmark; Python {platform.python_version()}, commit")
    print(f"{commit or 'unknown'}.\n\n" + (__doc__ or "").partition("\n\n")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=15, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--moves", type=float, default=20, help="steps that jobs make in a second")
    chosen = parser.parse_args()
    postgres = Postgres()
    postgres.start()
    with tempfile.TemporaryDirectory(prefix="towline-") as name:
        folder = Path(name)
        valkey = Valkey(folder)
        valkey.ensure()
        url = postgres.url(postgres.create())
        migrate(url)
        services = build_services(
            Settings(home=folder, database_url=url, redis_url=valkey.url, secret_key="-")  # noqa: S106
        )
        server = Server(services, folder)
        try:
            server.wait_until_up()
            those = follow(services, chosen.streams)
            ask(server, services, 2)
            movers = Movers(services, chosen.moves)
            without, beside = [], []
            for _ in range(chosen.turns):
                without.append(measure(server, services, movers, [], chosen.seconds))
                beside.append(measure(server, services, movers, those, chosen.seconds))
            movers.end()
            idle = idle_share(server, those, chosen.seconds)
            preamble()
            report(without, beside, chosen.streams, idle)
        finally:
            server.end()
            services.database.close()
            valkey.kill()
            postgres.close()


if __name__ == "__main__":
    main()

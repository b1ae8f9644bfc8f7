"""`/metrics`, whichever process of the API answers; and what the database says of the queue."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.edits import Priority
from shared.services import Services
from tests.broker import free_port
from tests.crew import Crew, wait_until
from tests.factories import Factory
from tests.integration.serving import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def server(services: Services, tmp_path: Path) -> Iterator[Server]:
    server = Server(services, tmp_path, api_processes=2)
    server.wait_until_up()
    yield server
    server.end()


def samples(url: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with httpx.Client(trust_env=False, headers={"Connection": "close"}) as client:
        answer = client.get(f"{url}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def asked(server: Server) -> float:
    labels = {"method": "GET", "route": "/livez", "status": "200"}
    key = ("towline_http_request_seconds_count", frozenset(labels.items()))
    return samples(server.url).get(key, 0.0)


def test_the_processes_of_an_api_are_counted_together_though_one_of_them_died(
    server: Server,
) -> None:
    before = asked(server)
    for _ in range(40):
        httpx.get(f"{server.url}/livez", trust_env=False)
    assert asked(server) == before + 40
    pids = server.workers()
    assert len(pids) == 2
    victim = pids[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in server.workers() and len(server.workers()) == 2)
    assert {asked(server) for _ in range(6)} == {before + 40}


def test_workers_count_what_they_do_each_for_itself_so_that_it_adds_up(
    start_crew: Callable[..., Crew],
) -> None:
    crew = start_crew(sweep_s=0.3)
    ports = [free_port(), free_port()]
    for port in ports:
        crew.worker(TOWLINE_WORKER_PORT=str(port), TOWLINE_WORKER_THREADS="1").wait_for_ready()
    make = Factory(crew.services)
    jobs = [make.job(is_stored=True) for _ in range(12)]
    crew.services.wakeups.send("warp")
    for job in jobs:
        crew.wait_for_end(job)
    key = ("towline_job_moves_total", frozenset({"engine": "warp", "move": "succeed"}.items()))
    counts = [samples(f"http://127.0.0.1:{port}").get(key, 0.0) for port in ports]
    assert sum(counts) == len(jobs), counts


def test_nothing_is_left_of_the_metrics_when_the_api_has_ended(server: Server) -> None:
    environment = Path(f"/proc/{server.process.pid}/environ").read_bytes().split(b"\0")
    (folder,) = (Path(os.fsdecode(entry.partition(b"=")[2])) for entry in environment
                 if entry.startswith(b"PROMETHEUS_MULTIPROC_DIR="))  # fmt: skip
    assert list(folder.iterdir())
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert not folder.exists()


def test_the_queue_is_told_as_the_database_has_it(
    server: Server, services: Services, make: Factory
) -> None:
    account = make.account()
    make.job(account)
    make.job(account, priority=Priority.HIGH)
    assert services.leases.claim_next("warp", "worker") is not None
    told = {
        f"{name}{sorted(labels)}": value for (name, labels), value in samples(server.url).items()
    }
    assert told["towline_queue_jobs[('engine', 'warp'), ('priority', 'normal')]"] == 1
    assert told["towline_queue_oldest_seconds[('engine', 'warp'), ('priority', 'normal')]"] >= 0
    assert told["towline_running_jobs[('engine', 'warp')]"] == 1
    assert told["towline_database_up[]"] == 1

"""Batches with real servers: the API, workers and their sender killed, and nothing done twice."""

from __future__ import annotations

import io
import json
import signal
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from shared.batches.tables import batches
from shared.jobs.tables import job_events, jobs
from shared.services import Services
from tests.batches import jsonl, lines_for
from tests.crew import Crew, wait_until
from tests.factories import a_picture
from tests.integration.editor import Editor
from tests.integration.serving import Server

pytestmark = pytest.mark.slow

COUNT = 300
KEY = {"Idempotency-Key": "order-1234"}


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    return start_crew(lease_s=3, heartbeat_s=0.5, sweep_s=0.3)


@pytest.fixture
def server(crew: Crew, tmp_path: Path) -> Iterator[Server]:
    server = Server(crew.services, tmp_path)
    server.wait_until_up()
    yield server
    server.end()


@pytest.fixture
def api(server: Server, services: Services) -> Iterator[httpx.Client]:
    key = services.accounts.create_key("sender").text
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
    ) as client:
        yield client


def post(api: httpx.Client, data: bytes) -> dict[str, Any]:
    headers = {"Content-Type": "application/jsonl", **KEY}
    answer = api.post("/v1/batches", content=data, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


def status(api: httpx.Client, batch_id: str) -> dict[str, Any]:
    return api.get(f"/v1/batches/{batch_id}").json()  # type: ignore[no-any-return]


def test_every_item_ends_once_whatever_is_killed_meanwhile(
    crew: Crew, server: Server, api: httpx.Client
) -> None:
    io_worker = crew.worker(queues="maintenance,webhooks")
    crew.start("worker", "beat")
    io_worker.wait_for_ready()
    image = Editor(api).upload(a_picture())["id"]
    data = jsonl(lines_for(image, COUNT))
    batch_id = post(api, data)["id"]
    io_worker.wait_for_event("batch_read")
    io_worker.signal(signal.SIGKILL)  # while it reads
    io_worker.wait_for_death()
    server.kill()
    server.start()
    assert post(api, data)["id"] == batch_id, "the same request, sent again by who got no answer"
    crew.worker(queues="maintenance,webhooks").wait_for_ready()
    wait_until(lambda: status(api, batch_id)["status"] == "running", 60)
    worker = crew.worker()
    wait_until(lambda: status(api, batch_id)["counts"]["succeeded"] > 20, 60)
    worker.signal(signal.SIGKILL)
    worker.wait_for_death()
    crew.worker().wait_for_ready()
    wait_until(lambda: status(api, batch_id)["status"] == "completed", 120)
    assert status(api, batch_id)["counts"]["succeeded"] == COUNT
    with crew.services.database.reading() as connection:
        made = connection.scalar(select(func.count()).select_from(jobs))
        assert (made, connection.scalar(select(func.count()).select_from(batches))) == (COUNT, 1)
        ends = connection.execute(select(job_events.c.job_id, job_events.c.data)).all()
    ended = Counter(row.job_id for row in ends if row.data["status"] == "succeeded")
    assert len(ended) == COUNT
    assert set(ended.values()) == {1}
    lines = [json.loads(line) for line in api.get(f"/v1/batches/{batch_id}/results").iter_lines()]
    assert [line["custom_id"] for line in lines] == [f"item {n}" for n in range(1, COUNT + 1)]
    archive = zipfile.ZipFile(io.BytesIO(api.get(f"/v1/batches/{batch_id}/archive").content))
    assert archive.testzip() is None
    assert len(archive.namelist()) == COUNT + 1


def test_another_accounts_job_does_not_wait_for_a_batch(
    crew: Crew, server: Server, api: httpx.Client
) -> None:
    """Its turn comes after one item of the batch, not after all of them."""
    crew.worker(queues="maintenance").wait_for_ready()
    image = Editor(api).upload(a_picture())["id"]
    batch_id = post(api, jsonl(lines_for(image, COUNT)))["id"]
    wait_until(lambda: status(api, batch_id)["status"] == "running", 60)
    wait_until(lambda: api.get("/v1/jobs?limit=1").json()["data"], 60)
    other = crew.services.accounts.create_key("other").text
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {other}"}, trust_env=False
    ) as theirs:
        picture = Editor(theirs).upload(a_picture(seed=5))["id"]
        body = {"image": picture, "drags": [{"handle": [20, 20], "target": [28, 20]}]}
        job = theirs.post("/v1/jobs", json=body).json()
        assert job["queue"]["position"] <= 1
        crew.worker().wait_for_ready()
        ended = theirs.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=30"}).json()
    assert ended["status"] == "succeeded"
    assert status(api, batch_id)["counts"]["succeeded"] < COUNT / 2

"""What processes log: JSON where nobody reads along, and the ids by which one finds the rest."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crew import Crew, Member, wait_until
from tests.factories import a_picture
from tests.integration.editor import Editor
from tests.integration.serving import Server
from tests.integration.test_deliver import HERE
from tests.receiver import Receiver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    return start_crew(**HERE, sweep_s=0.2, lease_s=1, heartbeat_s=0.3)


@pytest.fixture
def server(crew: Crew, tmp_path: Path) -> Iterator[Server]:
    networks = {"webhook_ports": "*", "webhook_networks": "127.0.0.0/8", "webhook_allow_http": True}
    server = Server(crew.services, tmp_path, **networks)
    server.wait_until_up()
    yield server
    server.end()


def lines_of(log: Path) -> list[dict[str, Any]]:
    """Each is an object of JSON, from the first to the last."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_every_line_is_json_and_a_job_is_found_from_its_request_to_its_webhook(
    crew: Crew, server: Server
) -> None:
    def tell(member: Member, event: str) -> bool:
        return any(line.get("job") == job["id"] for line in member.events(event))

    headers = {"Authorization": f"Bearer {crew.services.accounts.create_key('mine').text}"}
    doomed = crew.worker("--at", "stored", queues="warp")
    io = crew.worker(queues="webhooks,maintenance")
    beat = crew.start("worker", "beat")
    with (
        Receiver() as receiver,
        httpx.Client(base_url=server.url, headers=headers, timeout=70, trust_env=False) as api,
    ):
        editor = Editor(api)
        image = editor.upload(a_picture())["id"]
        drags = [{"handle": [20, 20], "target": [28, 20]}]
        body = {"image": image, "drags": drags, "webhook": {"url": receiver.url()}}
        job = api.post("/v1/jobs", json=body, headers={"X-Request-Id": "order-7"}).json()
        assert doomed.wait_for_death() == 9
        wait_until(lambda: tell(io, "lease_expired"), said=crew.said())
        worker = crew.worker(queues="warp")
        editor.finish(job)
        receiver.wait_for(1)
        wait_until(lambda: tell(io, "webhook_tried"), said=crew.said())
        api.get(f"/v1/jobs/{job['id']}", headers={"X-Request-Id": "look-8"})
        api.post(f"/v1/jobs/{job['id']}/cancel", headers={"X-Request-Id": "cancel-9"})
        api.get("/v1/jobs/nothing", headers={"X-Request-Id": "wrong-10"})
    for member in (io, worker, beat):
        member.signal(signal.SIGTERM)
        member.wait_for_death()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)

    for member in (doomed, io, worker, beat):
        assert all({"event", "level", "timestamp"} <= set(line) for line in lines_of(member.log))
    lines = lines_of(server.log)
    assert {"Starting gunicorn", "Booting worker"} <= {
        " ".join(line["event"].split()[:2]) for line in lines
    }
    requests = {line["request"]: line for line in lines if line["event"] == "request"}
    assert all("request" in line for line in lines if line["event"] in ("request", "refused"))
    assert requests["order-7"]["status"] == 202
    assert {requests[name]["job"] for name in ("order-7", "look-8", "cancel-9")} == {job["id"]}
    assert "job" not in requests["wrong-10"]
    mine = [line for line in lines_of(worker.log) if line.get("job") == job["id"]]
    assert {line["event"] for line in mine} >= {"job_claimed", "job_succeeded"}
    assert {line["attempt"] for line in mine} == {2}
    for event in ("job_claimed", "job_succeeded"):
        assert all("job" in line and "attempt" in line for line in worker.events(event))
    assert all("job" in line and "delivery" in line for line in io.events("webhook_tried"))


def test_a_line_is_read_by_people_when_text_is_asked_for(crew: Crew, tmp_path: Path) -> None:
    server = Server(crew.services, tmp_path, log_format="text")
    try:
        server.wait_until_up()
        httpx.get(f"{server.url}/v1/engines", trust_env=False)
    finally:
        server.end()
    lines = server.log.read_text().splitlines()
    assert any("[info" in line and "Booting worker" in line for line in lines)
    assert any("[info" in line and "path=/v1/engines" in line for line in lines)
    assert not any("path=/livez" in line for line in lines), "of each probe there would be many"
    assert not any(line.startswith(("{", "[2")) for line in lines)

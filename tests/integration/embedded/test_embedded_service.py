"""The real service, from one command: what it serves, and what survives a `kill -9`."""

from __future__ import annotations

import io
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.integration.embedded.running import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.integration.embedded.running import EmbeddedService, StartService

pytestmark = pytest.mark.slow

NOTHING_LEFT_S = 10
FINISHED_S = 120
QUICK_LEASES = {"TOWLINE_LEASE_S": "3", "TOWLINE_HEARTBEAT_S": "0.5", "TOWLINE_SWEEP_S": "0.5"}
FINAL = {"succeeded", "failed", "canceled", "expired"}
LARGE = (1600, 1200)  # long enough in the engine to be killed there


def test_service_is_ready_and_serves_its_docs(service: EmbeddedService) -> None:
    with service.api() as api:
        for path in ("/readyz", "/livez", "/docs", "/openapi.json", "/v1/engines"):
            answer = api.get(path, follow_redirects=True)
            assert answer.status_code == 200, path


def test_terminal_says_all_that_a_newcomer_needs(service: EmbeddedService) -> None:
    assert str(service.home / "sample-result.png") in service.said
    assert f"{service.url}/docs" in service.said
    assert f"{service.url}/studio#key={service.key}" in service.said
    assert service.key in service.said
    assert "curl -sS" in service.said
    assert "\x1b" not in service.said


def test_sample_picture_is_that_of_a_finished_job(service: EmbeddedService) -> None:
    with service.api() as api:
        jobs = api.get("/v1/jobs").json()["data"]
    assert "succeeded" in {job["status"] for job in jobs}
    with Image.open(service.home / "sample-result.png") as picture:
        assert picture.size == (451, 300)


def test_database_is_in_wal_mode_and_secrets_are_for_their_owner_alone(
    service: EmbeddedService,
) -> None:
    with closing(sqlite3.connect(service.home / "towline.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert service.home.stat().st_mode & 0o777 == 0o700
    for name in ("key", "secret", "broker/valkey.conf", "towline.db"):
        assert (service.home / name).stat().st_mode & 0o077 == 0, name


def test_nothing_is_left_when_it_is_told_to_end_in_the_middle_of_a_job(
    start_service: StartService,
) -> None:
    service = start_service()
    service.wait_until_up()
    with service.api() as api:
        submit(api, count=4)
        wait_until(lambda: "running" in statuses(service).values())
    family = service.family()
    assert service.stop(limit_s=NOTHING_LEFT_S) == 0
    assert [each for each in family if each.is_alive()] == []
    assert service.family() == []
    assert "running" not in statuses(service).values()  # given back, not lost


def test_job_ends_once_when_its_worker_was_killed(start_service: StartService) -> None:
    service = start_service(**QUICK_LEASES)
    service.wait_until_up()
    with service.api() as api:
        submitted = submit(api, count=3)
        wait_until(lambda: "running" in statuses(service).values())
        worker = service.child("worker-warp")
        worker.signal(signal.SIGKILL)
        wait_until(lambda: service.was_replaced("worker-warp", worker))
        wait_until(lambda: finished(service, submitted), FINISHED_S)
    each_ended_once(service, submitted)
    assert service.stop() == 0


def test_job_is_finished_when_the_broker_was_killed_just_before(
    start_service: StartService,
) -> None:
    service = start_service(**QUICK_LEASES)
    service.wait_until_up()
    service.child("broker").signal(signal.SIGKILL)
    with service.api() as api:
        submitted = submit(api, count=1)
    wait_until(lambda: finished(service, submitted), FINISHED_S)
    each_ended_once(service, submitted)
    assert service.child("broker").is_alive()
    assert service.stop() == 0


def test_jobs_end_once_when_everything_was_killed_in_the_middle(
    start_service: StartService, tmp_path: Path
) -> None:
    first = start_service(home=tmp_path, **QUICK_LEASES)
    first.wait_until_up()
    key = first.key
    with first.api() as api:
        submitted = submit(api, count=4)
        wait_until(lambda: "running" in statuses(first).values())
    first.kill_everything()
    left = {job: status for job, status in statuses(first).items() if job in submitted}
    assert {"queued", "running"} <= set(left.values())

    second = start_service(home=tmp_path, port=first.port, **QUICK_LEASES)
    second.wait_until_up()
    assert second.key == key
    wait_until(lambda: finished(second, submitted), FINISHED_S)
    each_ended_once(second, submitted)
    with second.api() as api:
        for job in submitted:
            result = api.get(f"/v1/jobs/{job}").json()["result"]
            assert api.get(result["candidates"][0]["url"]).status_code == 200
    assert second.stop() == 0


def test_jobs_are_finished_by_the_next_start_when_only_the_supervisor_was_killed(
    start_service: StartService, tmp_path: Path
) -> None:
    first = start_service(home=tmp_path, **QUICK_LEASES)
    first.wait_until_up()
    with first.api() as api:
        submitted = submit(api, count=4)
        wait_until(lambda: "running" in statuses(first).values())
    family = first.family()
    first.process.kill()
    first.process.wait()
    second = start_service(home=tmp_path, port=first.port, **QUICK_LEASES)
    second.wait_until_up()
    assert "an earlier run was killed" in second.said
    assert [each for each in family if each.is_alive()] == []
    wait_until(lambda: finished(second, submitted), FINISHED_S)
    each_ended_once(second, submitted)
    assert second.stop() == 0


def submit(api: httpx.Client, count: int) -> list[str]:
    """Jobs that take a while; their ids."""
    noise = np.random.default_rng(7).integers(0, 255, (LARGE[1] // 8, LARGE[0] // 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(LARGE).save(out, "PNG", compress_level=1)
    image = api.post("/v1/images", content=out.getvalue(), headers={"Content-Type": "image/png"})
    body = {
        "image": image.json()["id"],
        "mask": {"rect": [100, 100, LARGE[0] - 100, LARGE[1] - 100]},
        "drags": [{"handle": [800, 600], "target": [860, 640]}],
        "engine": "warp",
    }
    ids = []
    for seed in range(count):
        answer = api.post("/v1/jobs", json={**body, "options": {"seed": seed, "cache": False}})
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
    return ids


def statuses(service: EmbeddedService) -> dict[str, str]:
    """Every job's state by its id, as the database has it."""
    with closing(sqlite3.connect(service.home / "towline.db", timeout=10)) as database:
        return dict(database.execute("SELECT id, status FROM jobs").fetchall())


def finished(service: EmbeddedService, submitted: list[str]) -> bool:
    now = statuses(service)
    return all(now[job] in FINAL for job in submitted)


def each_ended_once(service: EmbeddedService, submitted: list[str]) -> None:
    """Succeeded, by one event, and by the last attempt alone; and it stays so."""
    time.sleep(1)  # a rival that is still at it would write now
    with closing(sqlite3.connect(service.home / "towline.db", timeout=10)) as database:
        events = database.execute(
            "SELECT job_id, json_extract(data, '$.status') FROM job_events"
        ).fetchall()
    ends = Counter((job, status) for job, status in events if status in FINAL)
    for job in submitted:
        assert statuses(service)[job] == "succeeded"
        assert [(job, "succeeded")] == [end for end in ends if end[0] == job]
        assert ends[job, "succeeded"] == 1

"""What answers while a server is away, and that nothing is lost or left half-written."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from shared.errors import DatabaseUnavailable
from shared.images.tables import images
from shared.jobs.store import JobStore
from shared.jobs.tables import job_events, jobs
from shared.objects.keys import PREFIXES
from shared.orphans import Orphans
from tests.api.calling import Caller, caller_of, is_problem, local, until, white
from tests.factories import a_picture, a_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from werkzeug.test import TestResponse

    from shared.services import Services
    from tests.broker import Valkey


def is_unavailable(answer: TestResponse, code: str) -> bool:
    assert is_problem(answer, 503, code)
    assert int(answer.headers["Retry-After"]) >= 1
    return True


def count(services: Services, *tables: Any) -> int:
    with services.database.reading() as connection:
        return sum(len(connection.execute(table.select()).all()) for table in tables)


def collect_orphans(services: Services) -> None:
    """The whole storage, however young its objects are."""
    orphans = Orphans(services.database, services.objects, grace_s=-1)
    for _ in range(2 * len(PREFIXES)):
        orphans.collect()


@contextmanager
def writing_by_another(services: Services) -> Iterator[None]:
    """Somebody else holds the write lock; nobody waits long for it."""
    services.database.engine.dispose()

    def impatient(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA busy_timeout = 20")

    event.listen(services.database.engine, "connect", impatient)
    path = services.database.engine.url.database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as rival:
        rival.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            rival.execute("ROLLBACK")


@contextmanager
def database_gone(services: Services) -> Iterator[None]:
    """The file is not there, and cannot be made."""
    services.database.engine.dispose()
    path = Path(str(services.database.engine.url.database))
    aside = path.with_suffix(".aside")
    path.rename(aside)
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()
        aside.rename(path)


@contextmanager
def storage_gone(services: Services) -> Iterator[None]:
    """A file lies where the folder should be: nothing can be read or written."""
    folder = services.settings.objects_folder
    aside = folder.with_name("aside")
    if folder.exists():
        folder.rename(aside)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("not a folder")
    try:
        yield
    finally:
        folder.unlink()
        if aside.exists():
            shutil.move(aside, folder)


def test_reading_goes_on_and_writing_is_unavailable_when_the_database_is_locked(
    caller: Caller, services: Services
) -> None:
    body, job = caller.body(), caller.job()
    rows = count(services, jobs, job_events, images)
    with writing_by_another(services):
        assert is_unavailable(caller.post("/v1/jobs", json=body), "database_unavailable")
        cancel = caller.post(f"/v1/jobs/{job['id']}/cancel")
        assert is_unavailable(cancel, "database_unavailable")
        assert is_unavailable(caller.send_picture(a_picture(seed=9)), "database_unavailable")
        assert caller.get(f"/v1/jobs/{job['id']}").json["status"] == "queued"
        assert caller.post("/v1/jobs/validate", json=body).json["valid"]
    assert count(services, jobs, job_events, images) == rows
    assert caller.post("/v1/jobs", json=body).status_code == 202
    assert caller.send_picture(a_picture(seed=9)).status_code == 201


def test_everything_is_unavailable_when_the_database_is_gone(
    caller: Caller, services: Services
) -> None:
    body, job = caller.body(), caller.job()
    with database_gone(services):
        for method, path, options in (
            ("GET", "/v1/engines", {}),
            ("GET", "/v1/jobs", {}),
            ("POST", "/v1/jobs", {"json": body}),
            ("GET", f"/v1/jobs/{job['id']}", {}),
            ("POST", "/v1/jobs/validate", {"json": body}),
            ("DELETE", f"/v1/jobs/{job['id']}", {}),
            ("GET", "/v1/nowhere", {}),
        ):
            answer = caller.call(method, path, **options)
            assert is_unavailable(answer, "database_unavailable"), path
            assert str(services.settings.home) not in answer.text
        assert caller.client.get("/livez").status_code == 200
        ready = caller.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json["checks"]["database"]["ok"] is False
        assert ready.json["checks"]["storage"]["ok"] is True
    assert caller.get(f"/v1/jobs/{job['id']}").json["status"] == "queued"


def test_a_request_without_a_key_is_refused_as_ever_when_the_database_is_gone(
    caller: Caller, services: Services
) -> None:
    with database_gone(services):
        assert is_problem(caller.client.get("/v1/jobs"), 401, "unauthorized")


def test_an_upload_is_unavailable_and_leaves_no_row_when_the_storage_is_gone(
    caller: Caller, services: Services
) -> None:
    with storage_gone(services):
        assert is_unavailable(caller.send_picture(a_picture()), "storage_unavailable")
        assert count(services, images) == 0
        ready = caller.client.get("/readyz")
        assert (ready.status_code, ready.json["status"]) == (503, "unavailable")
        assert ready.json["checks"]["storage"]["ok"] is False
        assert ready.json["checks"]["database"]["ok"] is True
    assert caller.send_picture(a_picture()).status_code == 201


def test_a_put_and_its_completion_are_unavailable_when_the_storage_is_gone(
    caller: Caller, services: Services
) -> None:
    data = a_picture()
    announced = caller.announce(data).json
    put, complete = local(announced["upload"]["url"]), f"/v1/images/{announced['id']}/complete"
    with storage_gone(services):
        assert is_unavailable(caller.client.put(put, data=data), "storage_unavailable")
        assert is_unavailable(caller.post(complete), "storage_unavailable")
    caller.client.put(put, data=data)
    with storage_gone(services):
        assert is_unavailable(caller.post(complete), "storage_unavailable")
    assert caller.post(complete).status_code == 200


def test_a_job_is_accepted_when_the_storage_is_gone_and_no_mask_must_be_read(
    caller: Caller, services: Services
) -> None:
    image, mask = caller.image(), caller.image(white(64, 48))
    with storage_gone(services):
        assert caller.submit(image=image).status_code == 202
        refused = caller.submit(image=image, mask=mask)
        assert is_unavailable(refused, "storage_unavailable")
    assert count(services, jobs) == 1
    assert caller.submit(image=image, mask=mask).status_code == 202


def test_a_job_is_unavailable_and_not_missing_when_its_masks_bytes_are_lost(
    caller: Caller, services: Services
) -> None:
    image, mask = caller.image(), caller.image(white(64, 48))
    shutil.rmtree(services.settings.objects_folder)
    answer = caller.submit(image=image, mask=mask)
    assert is_unavailable(answer, "storage_unavailable")
    assert caller.account_id not in answer.text, "the storage's layout is nobody's matter"


def test_an_image_is_gone_and_its_bytes_left_to_the_sweep_when_the_storage_is_gone(
    caller: Caller, services: Services
) -> None:
    image = caller.image()
    with storage_gone(services):
        answer = caller.delete(f"/v1/images/{image}")
    assert (answer.status_code, answer.json["left_to_sweep"]) == (200, True)
    assert answer.json["removed"]["objects"] == 0
    assert is_problem(caller.get(f"/v1/images/{image}"), 404, "not_found")
    assert services.objects.walk(f"images/{caller.account_id}/", "", 9) != []
    collect_orphans(services)
    assert services.objects.walk("", "", 9) == []


def test_a_job_is_gone_and_its_pictures_left_to_the_sweep_when_the_storage_is_gone(
    caller: Caller, services: Services
) -> None:
    path = f"/v1/jobs/{caller.job()['id']}"
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    result = a_result(job)
    services.objects.put(result["candidates"][0]["key"], b"picture")
    services.leases.succeed(job, result)
    with storage_gone(services):
        answer = caller.delete(path)
    assert (answer.status_code, answer.json["left_to_sweep"]) == (200, True)
    assert is_problem(caller.get(path), 404, "not_found")
    assert services.objects.walk(f"results/{caller.account_id}/", "", 9) != []
    collect_orphans(services)
    assert services.objects.walk("results/", "", 9) == []


def test_a_retry_is_accepted_when_the_database_goes_away_once_it_is_promised(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/jobs/{caller.job()['id']}"
    caller.post(f"{path}/cancel")

    def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "places", away)
        answer = caller.post(f"{path}/retry")
    assert (answer.status_code, answer.json["status"]) == (202, "queued")
    assert caller.get(f"/v1/jobs/{answer.json['id']}").json["retried_from"] == path[9:]


def test_a_job_is_accepted_at_once_when_no_broker_is_there(caller: Caller) -> None:
    body = caller.body()
    ready = caller.client.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "degraded")
    assert ready.json["checks"]["broker"]["ok"] is False
    started = time.monotonic()
    for _ in range(3):
        assert caller.post("/v1/jobs", json=body).status_code == 202
    assert time.monotonic() - started < 3


def test_a_job_is_accepted_within_a_second_when_the_broker_never_answers(
    build: Callable[..., Services],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        services = build(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        caller = caller_of(services)
        body = caller.body()
        took = []
        for _ in range(3):
            started = time.monotonic()
            assert caller.post("/v1/jobs", json=body).status_code == 202
            took.append(time.monotonic() - started)
        assert min(took) < 1
        assert max(took) < 2, "a second, and what a busy machine adds"
        assert count(services, jobs) == 3


def test_a_job_wakes_a_worker_when_the_broker_is_there(
    build: Callable[..., Services], broker: Valkey
) -> None:
    caller = caller_of(build(redis_url=broker.url))
    job = caller.job()
    until(lambda: len(broker.messages("warp")) == 1)
    ready = caller.client.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ok")
    assert list(ready.json["checks"]) == ["database", "storage", "broker"]
    assert all(check["latency_ms"] >= 0 for check in ready.json["checks"].values())
    caller.post(f"/v1/jobs/{job['id']}/cancel")
    caller.post(f"/v1/jobs/{job['id']}/retry")
    assert len(broker.messages("warp")) == 2
    caller.validate()
    caller.submit(timeout_s=0)
    assert len(broker.messages("warp")) == 2


@pytest.mark.parametrize("broken", [storage_gone, database_gone])
def test_no_file_is_left_half_written_when_an_upload_fails(
    caller: Caller, services: Services, broken: Any
) -> None:
    caller.image()
    before = {path for path in services.settings.objects_folder.rglob("*") if path.is_file()}
    with broken(services):
        assert caller.send_picture(a_picture(seed=5)).status_code == 503
    after = {path for path in services.settings.objects_folder.rglob("*") if path.is_file()}
    assert after == before

"""`Idempotency-Key` over HTTP: what a repeated request gives, and what it is refused with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from shared.batches.tables import batches
from shared.errors import DatabaseUnavailable, StorageUnavailable
from shared.idempotency.tables import idempotency_keys
from shared.images.tables import images
from shared.jobs.tables import jobs
from shared.webhooks.tables import webhook_deliveries, webhook_endpoints
from tests.api.calling import Caller, is_problem
from tests.batches import failed_batch, jsonl, lines_for
from tests.factories import HOOK, a_picture

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy import Table
    from werkzeug.test import TestResponse

    from shared.services import Services

KEY = {"Idempotency-Key": "the-key"}
#: POSTs that make nothing, or nothing that was not made before: safe to repeat as they are.
MAKES_NOTHING = {
    "jobs.validate_job", "jobs.cancel_job", "batches.cancel_batch", "images.complete_upload",
    # The same delivery once more: that is what is asked for.
    "webhooks.replay_webhook_delivery", "webhooks.replay_failed_deliveries",
}  # fmt: skip


#: What they make is a secret, in a row that was there.
ROTATIONS = {
    "webhooks.rotate_webhook_endpoint_secret": "/v1/webhook-endpoints/{endpoint}/rotate-secret",
    "webhooks.rotate_webhook_secret": "/v1/webhook-secret/rotate",
}


def count(services: Services, table: Table) -> int:
    with services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def same(first: TestResponse, again: TestResponse) -> bool:
    """Whether the second answer is the first one, replayed."""
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.status_code == again.status_code, again.text
    return bool(first.json["id"] == again.json["id"])


def of_job(caller: Caller) -> dict[str, Any]:
    return {"path": "/v1/jobs", "json": caller.body()}


def of_retry(caller: Caller) -> dict[str, Any]:
    job_id = caller.job()["id"]
    caller.post(f"/v1/jobs/{job_id}/cancel")
    return {"path": f"/v1/jobs/{job_id}/retry"}


def of_batch(caller: Caller) -> dict[str, Any]:
    data = jsonl(lines_for(caller.image(), 1))
    return {"path": "/v1/batches", "data": data, "content_type": "application/jsonl"}


def of_batch_retry(caller: Caller) -> dict[str, Any]:
    services = caller.client.application.extensions["towline"].services
    batch_id = failed_batch(services, caller.account_id, caller.image())
    return {"path": f"/v1/batches/{batch_id}/retry"}


def of_picture(caller: Caller) -> dict[str, Any]:
    return {"path": "/v1/images", "data": a_picture(seed=7), "content_type": "image/png"}


def of_upload(caller: Caller) -> dict[str, Any]:
    body = {"content_type": "image/png", "size_bytes": 5, "sha256": "a" * 64}
    return {"path": "/v1/images/uploads", "json": body}


def of_endpoint(caller: Caller) -> dict[str, Any]:
    return {"path": "/v1/webhook-endpoints", "json": {"url": HOOK}}


def of_test(caller: Caller) -> dict[str, Any]:
    endpoint = caller.post("/v1/webhook-endpoints", json={"url": HOOK}).json["id"]
    return {"path": f"/v1/webhook-endpoints/{endpoint}/test"}


#: How to make something at each route that declares a key: endpoint, request, table.
ROUTES: dict[str, tuple[Callable[[Caller], dict[str, Any]], Table]] = {
    "jobs.submit_job": (of_job, jobs),
    "jobs.retry_job": (of_retry, jobs),
    "batches.create_batch": (of_batch, batches),
    "batches.retry_batch": (of_batch_retry, batches),
    "images.upload_image": (of_picture, images),
    "images.announce_upload": (of_upload, images),
    "webhooks.create_webhook_endpoint": (of_endpoint, webhook_endpoints),
    "webhooks.test_webhook_endpoint": (of_test, webhook_deliveries),
}


def test_every_post_declares_a_key_or_makes_nothing(app: Flask) -> None:
    posts = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if "POST" in (rule.methods or set()) and rule.rule.startswith("/v1/")
    }
    declared = {name for name in posts if hasattr(app.view_functions[name], "is_idempotent")}
    assert declared == {*ROUTES, *ROTATIONS}, (
        "each has its request above, and passes `completion` on"
    )
    assert posts - declared == MAKES_NOTHING


@pytest.mark.parametrize("endpoint", ROUTES)
def test_one_thing_is_made_when_a_request_is_repeated(
    caller: Caller, services: Services, endpoint: str
) -> None:
    request_of, table = ROUTES[endpoint]
    request = request_of(caller)
    before = count(services, table)
    first = caller.post(**request, headers=KEY)
    assert first.status_code in (201, 202), first.text
    assert all(same(first, caller.post(**request, headers=KEY)) for _ in range(3))
    assert count(services, table) == before + 1


@pytest.mark.parametrize("path", ROTATIONS.values())
def test_a_secret_is_rotated_once_when_a_request_is_repeated(caller: Caller, path: str) -> None:
    endpoint = caller.post("/v1/webhook-endpoints", json={"url": HOOK}).json["id"]
    path = path.format(endpoint=endpoint)
    first, again = (caller.post(path, headers=KEY) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json == again.json
    other = caller.post(path, headers={"Idempotency-Key": "another"})
    assert other.json["secret"] != first.json["secret"]


def test_a_replay_tells_no_place_in_the_queue_of_a_job_that_has_ended(caller: Caller) -> None:
    body = caller.body()
    job = caller.post("/v1/jobs", json=body, headers=KEY).json
    assert job["queue"] is not None
    caller.post(f"/v1/jobs/{job['id']}/cancel")
    again = caller.post("/v1/jobs", json=body, headers=KEY).json
    assert (again["status"], again["queue"]) == ("canceled", None)


def test_a_request_makes_another_thing_when_it_has_no_key_or_another(
    caller: Caller, services: Services
) -> None:
    body = caller.body()
    keys = [None, None, "a", "b"]
    for key in keys:
        caller.post("/v1/jobs", json=body, headers={"Idempotency-Key": key} if key else {})
    assert count(services, jobs) == len(keys)


def test_a_key_is_one_accounts_alone_when_two_use_it(
    caller: Caller, stranger: Caller, services: Services
) -> None:
    first, second = (
        each.post("/v1/jobs", json=each.body(), headers=KEY) for each in (caller, stranger)
    )
    assert (first.status_code, second.status_code) == (202, 202)
    assert "Idempotency-Replayed" not in second.headers
    assert first.json["id"] != second.json["id"]


@pytest.mark.parametrize("header", ["the-key", '"the-key"', ' "the-key" '])
def test_a_key_is_the_same_when_it_is_quoted_or_bare(caller: Caller, header: str) -> None:
    body = caller.body()
    first = caller.post("/v1/jobs", json=body, headers=KEY)
    assert same(first, caller.post("/v1/jobs", json=body, headers={"Idempotency-Key": header}))


def test_a_repeated_body_is_the_same_when_only_its_spelling_differs(caller: Caller) -> None:
    body = caller.body()
    first = caller.post("/v1/jobs", json=body, headers=KEY)
    spelt = json.dumps(dict(reversed(body.items())), indent=3)
    again = caller.post(
        "/v1/jobs", data=spelt, content_type="application/json; charset=utf-8", headers=KEY
    )
    assert same(first, again)


def test_a_key_is_refused_when_it_comes_with_another_body_or_address(
    caller: Caller, services: Services
) -> None:
    body = caller.body()
    first = caller.post("/v1/jobs", json=body, headers=KEY)
    for path, options in (
        ("/v1/jobs", {"json": body | {"timeout_s": 299}}),
        ("/v1/images", {"data": a_picture(seed=9), "content_type": "image/png"}),
        (f"/v1/jobs/{first.json['id']}/retry", {}),
    ):
        answer = caller.post(path, headers=KEY, **options)
        assert is_problem(answer, 422, "idempotency_key_reused")
    assert count(services, jobs) == 1
    assert same(first, caller.post("/v1/jobs", json=body, headers=KEY))


def test_a_form_is_the_same_when_its_boundary_differs(caller: Caller, services: Services) -> None:
    def send(data: bytes, boundary: str) -> TestResponse:
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        ).encode()
        return caller.post(
            "/v1/images",
            data=body + data + f"\r\n--{boundary}--\r\n".encode(),
            content_type=f"multipart/form-data; boundary={boundary}",
            headers=KEY,
        )

    first = send(a_picture(seed=1), "one")
    assert first.status_code == 201
    assert same(first, send(a_picture(seed=1), "two"))
    assert is_problem(send(a_picture(seed=2), "one"), 422, "idempotency_key_reused")


def test_a_key_remembers_200_when_the_picture_was_there_before(caller: Caller) -> None:
    caller.image(a_picture(seed=7))
    request = of_picture(caller)
    first = caller.post(**request, headers=KEY)
    assert first.status_code == 200
    assert same(first, caller.post(**request, headers=KEY))


def test_a_key_remembers_nothing_when_the_request_was_refused(
    caller: Caller, services: Services
) -> None:
    image = "img_" + "0" * 32
    assert caller.post("/v1/jobs", json=caller.body(timeout_s=0), headers=KEY).status_code == 422
    assert caller.post("/v1/jobs", json=caller.body(image=image), headers=KEY).status_code == 422
    assert caller.post("/v1/images", data=b"no picture", headers=KEY).status_code == 415
    running = caller.job()["id"]
    retry = caller.post(f"/v1/jobs/{running}/retry", headers=KEY)
    assert is_problem(retry, 409, "job_not_final")
    assert count(services, idempotency_keys) == 0
    assert caller.post("/v1/jobs", json=caller.body(), headers=KEY).status_code == 202


def test_a_key_remembers_nothing_when_the_server_failed(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StorageUnavailable("away")

    request = of_picture(caller)
    monkeypatch.setattr(type(services.objects), "put", fail)
    assert caller.post(**request, headers=KEY).status_code == 503
    monkeypatch.undo()
    assert count(services, idempotency_keys) == 0
    assert caller.post(**request, headers=KEY).status_code == 201


def test_a_key_remembers_nothing_when_known_bytes_could_not_be_restored(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller.image(a_picture(seed=7))

    def fail(*_: Any) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(type(services.objects), "size", fail)
    assert caller.post(**of_picture(caller), headers=KEY).status_code == 503
    monkeypatch.undo()
    assert count(services, idempotency_keys) == 0


@pytest.mark.parametrize("key", ["", " ", "a b", '"', "k" * 256, "\xfc"])
def test_a_request_is_refused_when_its_key_cannot_be_read(
    caller: Caller, services: Services, key: str
) -> None:
    answer = caller.post("/v1/jobs", json=caller.body(), headers={"Idempotency-Key": key})
    assert is_problem(answer, 400, "idempotency_key_malformed")
    assert count(services, jobs) == 0


def test_a_request_is_unavailable_when_its_key_cannot_be_taken(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DatabaseUnavailable("away")

    body = caller.body()
    monkeypatch.setattr(type(services.idempotency), "take", fail)
    assert is_problem(caller.post("/v1/jobs", json=body, headers=KEY), 503, "database_unavailable")
    monkeypatch.undo()
    assert caller.post("/v1/jobs", json=body, headers=KEY).status_code == 202


def test_a_key_is_in_the_document_where_it_is_heeded(app: Flask) -> None:
    paths = app.test_client().get("/openapi.json").json["paths"]  # type: ignore[index]
    for path, operations in paths.items():
        for operation in operations.values():
            names = [each["name"] for each in operation.get("parameters", [])]
            is_heeded = operation["operationId"] in {
                name.split(".")[1] for name in {*ROUTES, *ROTATIONS}
            }
            assert ("Idempotency-Key" in names) == is_heeded, path
            assert not is_heeded or {"409", "410", "422"} <= set(operation["responses"])

"""Who did what: every change over HTTP leaves its entry, and only its account reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from shared.audit.tables import audit_log
from shared.errors import DatabaseUnavailable
from shared.webhooks.ends import fail
from tests.api.calling import Caller, is_problem, said
from tests.api.routes import rules
from tests.batches import a_line, failed_batch
from tests.factories import HOOK, a_picture, a_result

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from shared.services import Services

READING = {"GET", "HEAD", "OPTIONS"}

#: Routes that are no GET and leave no entry, and why.
CHANGES_NOTHING = {
    ("POST", "/v1/jobs/validate"): "stores nothing",
    ("PUT", "/objects/{key}"): "bytes under a URL that `announce_upload` signed; the entry is its",
}


def ended_job(caller: Caller, services: Services) -> str:
    caller.job()
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    services.leases.succeed(job, a_result(job))
    return job.id


def a_batch(caller: Caller) -> str:
    answer = caller.post("/v1/batches", json={"jobs": [a_line(caller.image(), "a")]})
    return str(answer.json["id"])


def put_upload(caller: Caller) -> str:
    data = a_picture(seed=77)
    announced = caller.announce(data).json
    url = announced["upload"]["url"]
    put = caller.client.put(url[url.index("/objects/") :], data=data)
    assert put.status_code == 200
    return str(announced["id"])


def with_a_failure(caller: Caller, services: Services) -> str:
    path = an_endpoint(caller)
    delivery = caller.post(f"{path}/test").json["id"]
    with services.database.writing() as connection:
        fail(connection, [delivery], "status")
    return path


def an_endpoint(caller: Caller) -> str:
    """Its address."""
    endpoint = caller.post("/v1/webhook-endpoints", json={"url": HOOK}).json["id"]
    return f"/v1/webhook-endpoints/{endpoint}"


def a_delivery(caller: Caller) -> str:
    """Its address."""
    delivery = caller.post(f"{an_endpoint(caller)}/test").json["id"]
    return f"/v1/webhook-deliveries/{delivery}"


Change = Callable[[Caller, "Services"], "tuple[TestResponse, str]"]

#: For each route that changes something: a call that does, and the action it leaves. A new
#: route belongs here, or above.
CHANGES: dict[tuple[str, str], Change] = {
    ("POST", "/v1/images"): lambda c, s: (c.send_picture(a_picture()), "image.created"),
    ("POST", "/v1/images/uploads"): lambda c, s: (c.announce(b"later"), "image.announced"),
    ("POST", "/v1/images/{image_id}/complete"): lambda c, s: (
        c.post(f"/v1/images/{put_upload(c)}/complete"), "image.created",
    ),
    ("DELETE", "/v1/images/{image_id}"): lambda c, s: (
        c.delete(f"/v1/images/{c.image()}"), "image.deleted",
    ),
    ("POST", "/v1/jobs"): lambda c, s: (c.submit(), "job.created"),
    ("POST", "/v1/jobs/{job_id}/cancel"): lambda c, s: (
        c.post(f"/v1/jobs/{c.job()['id']}/cancel"), "job.canceled",
    ),
    ("POST", "/v1/jobs/{job_id}/retry"): lambda c, s: (
        c.post(f"/v1/jobs/{ended_job(c, s)}/retry"), "job.created",
    ),
    ("DELETE", "/v1/jobs/{job_id}"): lambda c, s: (
        c.delete(f"/v1/jobs/{ended_job(c, s)}"), "job.deleted",
    ),
    ("POST", "/v1/batches"): lambda c, s: (
        c.post("/v1/batches", json={"jobs": [a_line(c.image(), "a")]}), "batch.created",
    ),
    ("POST", "/v1/batches/{batch_id}/cancel"): lambda c, s: (
        c.post(f"/v1/batches/{a_batch(c)}/cancel"), "batch.canceled",
    ),
    ("POST", "/v1/batches/{batch_id}/retry"): lambda c, s: (
        c.post(f"/v1/batches/{failed_batch(s, c.account_id, c.image())}/retry"), "batch.created",
    ),
    ("POST", "/v1/webhook-endpoints"): lambda c, s: (
        c.post("/v1/webhook-endpoints", json={"url": HOOK}), "webhook_endpoint.created",
    ),
    ("PATCH", "/v1/webhook-endpoints/{endpoint_id}"): lambda c, s: (
        c.call("PATCH", an_endpoint(c), json={"disabled": True}), "webhook_endpoint.changed",
    ),
    ("DELETE", "/v1/webhook-endpoints/{endpoint_id}"): lambda c, s: (
        c.delete(an_endpoint(c)), "webhook_endpoint.deleted",
    ),
    ("POST", "/v1/webhook-endpoints/{endpoint_id}/rotate-secret"): lambda c, s: (
        c.post(f"{an_endpoint(c)}/rotate-secret"), "webhook_endpoint.secret_rotated",
    ),
    ("POST", "/v1/webhook-endpoints/{endpoint_id}/test"): lambda c, s: (
        c.post(f"{an_endpoint(c)}/test"), "webhook_endpoint.tested",
    ),
    ("POST", "/v1/webhook-endpoints/{endpoint_id}/replay-failed"): lambda c, s: (
        c.post(f"{with_a_failure(c, s)}/replay-failed?since=2026-01-01T00:00:00Z"),
        "webhook_endpoint.failed_replayed",
    ),
    ("POST", "/v1/webhook-deliveries/{delivery_id}/replay"): lambda c, s: (
        c.post(f"{a_delivery(c)}/replay"), "webhook_delivery.replayed",
    ),
    ("POST", "/v1/webhook-secret/rotate"): lambda c, s: (
        c.post("/v1/webhook-secret/rotate"), "webhook_secret.rotated",
    ),
}  # fmt: skip


def test_every_route_that_is_no_get_is_known_to_this_test(app: Flask) -> None:
    served = {(method, rule) for method, rule in rules(app) if method not in READING}
    assert served == CHANGES.keys() | CHANGES_NOTHING.keys()


@pytest.mark.parametrize("route", CHANGES, ids=" ".join)
def test_a_change_leaves_one_entry_with_its_key_and_its_request_when_it_is_made(
    caller: Caller, services: Services, route: tuple[str, str]
) -> None:
    answer, action = CHANGES[route](caller, services)
    assert answer.status_code < 300, answer.text
    entries = caller.get(f"/v1/audit-log?action={action}").json["data"]
    request_id = answer.headers["X-Request-Id"]
    (entry,) = [entry for entry in entries if entry["request_id"] == request_id]
    assert entry["actor"] == {"type": "key", "id": caller.key.split("_")[1]}
    thing = answer.json.get("id") if answer.data else None
    assert entry["subject"] in (thing, caller.account_id) or entry["subject"] in answer.request.path
    assert caller.key.split("_")[2] not in str(entries)


def entries_of(services: Services) -> int:
    with services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(audit_log)) or 0


def test_nothing_is_written_when_nothing_was_changed(caller: Caller, services: Services) -> None:
    image, ended = caller.image(), ended_job(caller, services)
    running = caller.job()["id"]
    services.leases.claim_next("warp", "worker")
    caller.post(f"/v1/jobs/{running}/cancel")
    before = entries_of(services)
    for answer, status in (
        (caller.submit(image=image, drags=[]), 422),
        (caller.submit(image=f"img_{'0' * 32}"), 422),
        (caller.post(f"/v1/jobs/{ended}/cancel"), 200),
        (caller.post(f"/v1/jobs/{running}/cancel"), 200),
        (caller.delete(f"/v1/jobs/{running}"), 409), (caller.delete(f"/v1/images/{image}x"), 404),
        (caller.post(f"/v1/jobs/{running}/retry"), 409),
        (caller.post("/v1/jobs/validate", json=caller.body(image=image)), 200),
        (caller.get("/v1/jobs"), 200), (caller.send_picture(b"none"), 415),
        (caller.post(f"/v1/images/{image}/complete"), 200),
    ):  # fmt: skip
        assert answer.status_code == status, answer.text
    assert entries_of(services) == before


def test_there_is_no_change_without_its_entry_when_the_entry_cannot_be_written(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = caller.image()

    def fails(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("full")

    monkeypatch.setattr("shared.jobs.store.note", fails)
    assert is_problem(caller.submit(image=image), 503, "database_unavailable")
    monkeypatch.undo()
    assert caller.get("/v1/jobs").json["data"] == []


def test_a_worker_leaves_no_entry_when_it_runs_after_a_request_in_this_thread(
    caller: Caller, services: Services
) -> None:
    image = caller.image()
    before = entries_of(services)
    services.images.delete(caller.account_id, image)
    assert entries_of(services) == before


def test_uploading_the_same_bytes_again_is_a_renewal(caller: Caller) -> None:
    image = caller.image(a_picture())
    assert caller.send_picture(a_picture()).status_code == 200
    entries = caller.get(f"/v1/audit-log?subject={image}").json["data"]
    assert [entry["action"] for entry in entries] == ["image.renewed", "image.created"]


def walked(caller: Caller, query: str) -> list[dict[str, Any]]:
    """All pages, two entries each."""
    found, cursor = [], ""
    while True:
        page = caller.get(f"/v1/audit-log?limit=2{query}{cursor}").json
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_pages_hold_every_entry_once_the_newest_first_when_they_are_walked(
    caller: Caller, stranger: Caller, services: Services
) -> None:
    jobs = [caller.job()["id"] for _ in range(3)]
    stranger.job()
    caller.post(f"/v1/jobs/{jobs[0]}/cancel")
    entries = walked(caller, "")
    assert [entry["action"] for entry in entries] == [
        "job.canceled", *("job.created", "image.renewed", "job.created", "image.renewed",
                          "job.created", "image.created"),
    ]  # fmt: skip
    assert len({entry["id"] for entry in entries}) == 7
    assert sorted(entry["created_at"] for entry in entries) == [
        entry["created_at"] for entry in reversed(entries)
    ]
    assert [entry["subject"] for entry in walked(caller, "&action=job.created")] == jobs[::-1]
    subject = walked(caller, f"&subject={jobs[0]}")
    assert [entry["action"] for entry in subject] == ["job.canceled", "job.created"]
    key_id = caller.key.split("_")[1]
    assert walked(caller, f"&key={key_id}") == entries
    assert walked(caller, f"&key={stranger.key.split('_')[1]}") == []
    assert walked(caller, f"&key={key_id}&action=job.canceled") == entries[:1]


def test_a_question_is_refused_when_it_cannot_be_understood(caller: Caller) -> None:
    assert caller.call("TRACE", "/v1/audit-log?limit=5").status_code == 405
    assert said(caller.get("/v1/audit-log?cursor=x")) == {("/cursor", "wrong_format")}
    assert said(caller.get("/v1/audit-log?limit=0&colour=red")) == {
        ("/limit", "out_of_range"), ("/colour", "unknown_field")
    }  # fmt: skip


def test_the_origin_of_an_endpoint_is_kept_and_no_token_when_it_is_made_or_changed(
    caller: Caller, services: Services
) -> None:
    made = caller.post(
        "/v1/webhook-endpoints",
        json={"url": "https://a.example/in/swordfish?key=swordfish", "events": ["job.failed"]},
    )
    path = f"/v1/webhook-endpoints/{made.json['id']}"
    changes = {"url": "https://b.example/swordfish", "disabled": True}
    assert caller.call("PATCH", path, json=changes).status_code == 200
    changed, created = services.audit_log.page(caller.account_id, limit=2)
    assert created.details == {
        "origin": "https://a.example", "events": ["job.failed"], "disabled": False,
    }  # fmt: skip
    assert "url" in changed.details["changed"]
    assert (changed.details["origin"], changed.details["disabled"]) == ("https://b.example", True)
    assert "events" not in changed.details
    assert "swordfish" not in repr((created, changed))

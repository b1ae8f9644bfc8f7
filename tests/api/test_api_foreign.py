"""What is another account's answers 404, exactly as what does not exist: on every route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.calling import Caller, is_problem, said
from tests.api.routes import IDS, address_of, parts_of, rules
from tests.batches import jsonl, lines_for, tend
from tests.factories import HOOK, a_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from werkzeug.test import TestResponse

    from shared.services import Services


def images_of(caller: Caller, services: Services) -> list[str]:
    """One that was uploaded, and one whose bytes are still to come."""
    return [caller.image(), caller.announce(b"to come").json["id"]]


def jobs_of(caller: Caller, services: Services) -> list[str]:
    """One in each state that answers differently."""
    image = caller.image()
    ids = [caller.job(image=image)["id"] for _ in range(3)]
    done = services.leases.claim_next("warp", "worker")
    assert done is not None
    services.leases.succeed(done, a_result(done))
    assert services.leases.claim_next("warp", "worker") is not None
    return ids


def batches_of(caller: Caller, services: Services) -> list[str]:
    """One that is read, one that runs, one that was rejected."""
    image = caller.image()
    ids = [send_batch(caller, lines_for(image, 2))]
    rejected = send_batch(caller, [{}])
    tend(services)
    return [*ids, rejected, send_batch(caller, lines_for(image, 1))]


def send_batch(caller: Caller, lines: list[dict[str, Any]]) -> str:
    data = jsonl(lines)
    answer = caller.post("/v1/batches", data=data, content_type="application/jsonl")
    return str(answer.json["id"])


def endpoints_of(caller: Caller, services: Services) -> list[str]:
    """One that is sent to, and one that is disabled."""
    bodies = ({"url": HOOK}, {"url": HOOK, "disabled": True})
    return [caller.post("/v1/webhook-endpoints", json=body).json["id"] for body in bodies]


def deliveries_of(caller: Caller, services: Services) -> list[str]:
    """One that waits."""
    endpoint = endpoints_of(caller, services)[0]
    return [caller.post(f"/v1/webhook-endpoints/{endpoint}/test").json["id"]]


#: How to make what the ids of a kind name; a kind of its own for whoever adds a route.
MAKERS: dict[str, Callable[[Caller, Services], list[str]]] = {
    "img": images_of, "job": jobs_of, "bat": batches_of, "ep": endpoints_of, "dlv": deliveries_of
}  # fmt: skip

#: What a route needs beside its address to get as far as its id.
BODIES: dict[str, dict[str, Any]] = {
    "PATCH /v1/webhook-endpoints/{endpoint_id}": {"json": {"description": "mine"}},
    "POST /v1/webhook-endpoints/{endpoint_id}/replay-failed": {
        "query_string": {"since": "2026-01-01T00:00:00Z"}
    },
}


def without_names(answer: TestResponse, thing: str) -> tuple[Any, ...]:
    """All of an answer but what differs from one request to the next."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("X-Request-Id", "Content-Length", "RateLimit")
    }
    said = answer.json if answer.data else {}
    body = {key: part for key, part in said.items() if key != "request_id"}
    return answer.status_code, headers, repr(body).replace(thing, "")


def state_of(caller: Caller, services: Services) -> Any:
    """Everything that an account has, as its owner sees it."""
    jobs = caller.get("/v1/jobs?limit=200").json["data"]
    images = [services.images.get(caller.account_id, job["request"]["image"]) for job in jobs]
    hooks = caller.get("/v1/webhook-endpoints").json, caller.get("/v1/webhook-deliveries").json
    return [(job["id"], job["status"], job["attempt"]) for job in jobs], images, hooks


def test_every_route_is_not_found_exactly_as_a_missing_one_when_the_thing_is_foreign(
    app: Flask, caller: Caller, stranger: Caller, services: Services
) -> None:
    things = {kind: make(caller, services) for kind, make in MAKERS.items()}
    before, walked = state_of(caller, services), set()
    for method, rule in rules(app):
        names = [name for name in parts_of(rule) if rule.startswith("/v1/")]
        if not names or method == "OPTIONS":
            continue
        options = BODIES.get(f"{method} {rule}", {})
        missing_address = address_of(rule)  # fails for a part that it does not know
        (name,) = names
        missing_id = missing_address.split("/")[rule.split("/").index(f"{{{name}}}")]
        missing = stranger.call(method, missing_address, **options)
        for thing in things[IDS[name]]:
            foreign = stranger.call(method, address_of(rule, **{name: thing}), **options)
            assert foreign.status_code == 404, (method, rule, foreign.text)
            assert without_names(foreign, thing) == without_names(missing, missing_id)
            walked.add((method, rule))
    assert len(walked) >= 18, "every method of every route with an id"
    assert state_of(caller, services) == before, "nothing of it was changed"


def test_no_list_tells_of_a_foreign_thing(
    app: Flask, caller: Caller, stranger: Caller, services: Services
) -> None:
    """Whatever may be asked without an id; a new list is walked as soon as it is served."""
    things = [thing for make in MAKERS.values() for thing in make(caller, services)]
    told, walked = set(), set()
    for method, rule in rules(app):
        if method != "GET" or not rule.startswith("/v1/") or parts_of(rule):
            continue
        mine, theirs = caller.get(rule).text, stranger.get(rule).text
        told |= {thing for thing in things if thing in mine}
        assert [thing for thing in things if thing in theirs] == [], rule
        walked.add(rule)
    assert len(walked) >= 6
    assert len(told) >= len(things) / 2, "their owner is told of them by one of these"


def test_each_kind_of_id_is_made_by_this_test_and_answers_its_owner(
    app: Flask, caller: Caller, services: Services
) -> None:
    """Or the walk would find 404 for things that are not there at all."""
    assert set(MAKERS) == set(IDS.values())
    (image, _), jobs = images_of(caller, services), jobs_of(caller, services)
    assert caller.get(f"/v1/images/{image}").status_code == 200
    assert [
        caller.get(f"/v1/webhook-endpoints/{endpoint}").json["disabled"]
        for endpoint in endpoints_of(caller, services)
    ] == [False, True]
    (delivery,) = deliveries_of(caller, services)
    assert caller.get(f"/v1/webhook-deliveries/{delivery}").json["status"] == "pending"
    assert [caller.get(f"/v1/jobs/{job}").json["status"] for job in jobs] == [
        "succeeded", "running", "queued"
    ]  # fmt: skip


def test_a_foreign_image_is_one_that_does_not_exist_when_a_body_names_it(
    caller: Caller, stranger: Caller
) -> None:
    image, mine = caller.image(), stranger.image()
    for body in ({"image": image}, {"image": mine, "mask": image}):
        ((_, code),) = said(stranger.submit(**body))
        assert code == "image_not_found"


def test_a_list_shows_nothing_foreign_whatever_it_is_asked(
    caller: Caller, stranger: Caller
) -> None:
    mine = stranger.job(metadata={"k": "v"})["id"]
    theirs = caller.job(metadata={"k": "v"})["id"]
    for query in (f"?cursor={theirs}", "", "?status=queued", "?metadata.k=v"):
        listed = stranger.get(f"/v1/jobs{query}").json["data"]
        assert [job["id"] for job in listed] == [mine]
    subject = stranger.get(f"/v1/audit-log?subject={theirs}").json["data"]
    assert subject == []


def test_a_signed_url_of_ones_own_opens_nothing_foreign_when_it_is_changed(
    caller: Caller, stranger: Caller
) -> None:
    theirs = caller.get(f"/v1/images/{caller.image()}").json["url"].split("?")[0]
    signature = stranger.get(f"/v1/images/{stranger.image()}").json["url"].split("?")[1]
    path = theirs[theirs.index("/objects/") :]
    assert is_problem(stranger.client.get(f"{path}?{signature}"), 403, "url_refused")


def test_a_route_with_an_unknown_kind_of_id_fails_the_walk_when_it_is_added() -> None:
    with pytest.raises(AssertionError, match=r"say in tests/api/routes\.py"):
        address_of("/v1/secrets/{secret_id}")

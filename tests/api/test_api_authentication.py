"""Who gets in: a key on all of `/v1`, none elsewhere, and never to what is another account's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from shared.accounts.tables import api_keys
from tests.api.calling import NOBODY, Caller, is_problem
from tests.factories import a_result

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from shared.services import Services

IDS = {"image_id": "image", "job_id": "job"}  #: the part of an address, and whose id it takes


def ask(caller: Caller, authorization: str | None) -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    return caller.client.get("/v1/engines", headers=headers)


def assert_refused(answer: TestResponse) -> None:
    assert is_problem(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_opens_its_account_when_it_is_sent_as_bearer(caller: Caller) -> None:
    for authorization in (
        f"Bearer {caller.key}", f"bearer {caller.key}", f"BEARER   {caller.key} "
    ):  # fmt: skip
        assert ask(caller, authorization).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Bearer", "Bearer ", "{key}", "Basic {key}", "Token {key}", "Bearer: {key}",
        "Bearer {key} {key}", "Bearer {key}x", "Bearer x{key}", "Bearer {id}", "Bearer {id}_",
        "Bearer {id}_{wrong}", "Bearer tow_{other}_{secret}", "Bearer TOW{rest}", "Bearer ü",
        "Bearer {upper}", "Bearer tow_' OR 1=1--_x", "Bearer " + "x" * 5000, "Bearer {key}\t",
        "Digest username=x", "Basic dXNlcjpwYXNz",
    ],
)  # fmt: skip
def test_a_request_is_refused_when_its_key_is_missing_or_wrong(
    anybody: Caller, authorization: str | None
) -> None:
    _, key_id, secret = anybody.key.split("_")
    parts = {
        "key": anybody.key, "id": f"tow_{key_id}", "secret": secret, "other": "0" * 16,
        "wrong": ("0" if secret[0] != "0" else "1") + secret[1:], "rest": anybody.key[3:],
        "upper": anybody.key.upper(),
    }  # fmt: skip
    answer = ask(anybody, authorization and authorization.format(**parts))
    assert_refused(answer)
    assert secret not in answer.text


def test_a_key_opens_nothing_when_it_was_revoked(caller: Caller, services: Services) -> None:
    second = services.accounts.create_key("caller 1")
    assert services.accounts.account_of(second.text) == caller.account_id
    with services.database.writing() as connection:
        this = api_keys.c.id == caller.key.split("_")[1]
        connection.execute(api_keys.update().where(this).values(revoked_at=1))
    assert_refused(ask(caller, f"Bearer {caller.key}"))
    assert ask(caller, f"Bearer {second.text}").status_code == 200


def rules(app: Flask) -> list[tuple[str, str]]:
    """Every method and address that is served."""
    return [
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


def test_an_address_needs_a_key_when_it_is_under_v1_and_only_then(
    app: Flask, caller: Caller
) -> None:
    free = set()
    for method, rule in rules(app):
        path = rule.format(image_id=f"img_{NOBODY}", job_id=f"job_{NOBODY}", key="x", name="x")
        status = caller.client.open(path, method=method).status_code
        assert (status == 401) == rule.startswith("/v1/"), (method, rule, status)
        free |= {rule} if status != 401 else set()
    assert {"/livez", "/readyz", "/openapi.json", "/docs", "/docs/errors"} <= free


@pytest.mark.parametrize("path", ["/v1/nowhere", "/v1/jobs/x", "/v1//jobs", "/v1/../v1/jobs"])
def test_an_address_under_v1_needs_a_key_when_there_is_nothing(anybody: Caller, path: str) -> None:
    assert_refused(anybody.client.get(path))


def test_no_other_spelling_of_v1_gets_around_the_key_when_it_is_routed(caller: Caller) -> None:
    for path in ("//v1/jobs", "/V1/jobs", "/%76%31/jobs", "/v1%2fjobs", "/./v1/jobs", "/v1;/jobs"):
        answer = caller.client.get(path, follow_redirects=True)
        assert answer.status_code in (401, 404), path


def things_of(caller: Caller, services: Services) -> dict[str, list[str]]:
    """An image, and a job in each state that answers differently."""
    image = caller.image()
    done = caller.job(image=image)["id"]
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    services.leases.succeed(job, a_result(job))
    return {"image": [image], "job": [done, caller.job(image=image)["id"]]}


def without_names(answer: TestResponse, thing: str) -> tuple[Any, ...]:
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("X-Request-Id", "Content-Length")
    }
    said = answer.json if answer.data else {}
    body = {key: part for key, part in said.items() if key != "request_id"}
    return answer.status_code, headers, repr(body).replace(thing, "")


def test_every_address_is_not_found_exactly_as_a_missing_one_when_the_thing_is_foreign(
    app: Flask, caller: Caller, stranger: Caller, services: Services
) -> None:
    things, walked = things_of(caller, services), 0
    for method, rule in rules(app):
        parameters = re.findall(r"{(\w+)}", rule)
        if not rule.startswith("/v1/") or not parameters or method == "OPTIONS":
            continue
        (kind,) = (IDS[name] for name in parameters)
        missing_id = f"{'img' if kind == 'image' else 'job'}_{NOBODY}"
        missing = stranger.call(method, rule.format(**{parameters[0]: missing_id}))
        for thing in things[kind]:
            foreign = stranger.call(method, rule.format(**{parameters[0]: thing}))
            assert foreign.status_code == 404, (method, rule)
            assert without_names(foreign, thing) == without_names(missing, missing_id)
            walked += 1
    assert walked >= 12
    assert caller.get(f"/v1/images/{things['image'][0]}").status_code == 200
    assert [job["status"] for job in caller.get("/v1/jobs").json["data"]] == ["queued", "succeeded"]
    assert stranger.get("/v1/jobs").json["data"] == []


def test_a_foreign_cursor_shows_nothing_foreign_when_it_is_used(
    caller: Caller, stranger: Caller
) -> None:
    mine = stranger.job()["id"]
    theirs = caller.job()["id"]
    listed = stranger.get(f"/v1/jobs?cursor={theirs}").json
    assert [job["id"] for job in listed["data"]] == [mine]

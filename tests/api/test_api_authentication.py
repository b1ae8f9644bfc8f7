"""Who gets in: a key on all of `/v1`, none elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.api.calling import Caller, is_problem
from tests.api.routes import address_of, rules

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from shared.services import Services


def ask(caller: Caller, authorization: str | None) -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    return caller.client.get("/v1/engines", headers=headers)


def assert_refused(answer: TestResponse, challenge: str = 'Bearer error="invalid_token"') -> None:
    assert is_problem(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == challenge


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
    sent = authorization and authorization.format(**parts)
    answer = ask(anybody, sent)
    is_bearer = re.fullmatch(r"(?i)bearer +\S+ *", sent or "") is not None
    assert_refused(answer, 'Bearer error="invalid_token"' if is_bearer else "Bearer")
    assert secret not in answer.text


def test_a_key_opens_nothing_when_it_was_revoked(caller: Caller, services: Services) -> None:
    second = services.accounts.create_key("caller 1")
    assert services.accounts.account_of(second.text) == caller.account_id
    services.accounts.revoke_key(caller.key.split("_")[1])
    assert_refused(ask(caller, f"Bearer {caller.key}"))
    assert ask(caller, f"Bearer {second.text}").status_code == 200


def test_an_address_needs_a_key_when_it_is_under_v1_and_only_then(
    app: Flask, caller: Caller
) -> None:
    free = set()
    for method, rule in rules(app):
        status = caller.client.open(address_of(rule), method=method).status_code
        assert (status == 401) == rule.startswith("/v1/"), (method, rule, status)
        free |= {rule} if status != 401 else set()
    assert {"/livez", "/readyz", "/openapi.json", "/docs", "/docs/errors"} <= free


@pytest.mark.parametrize("path", ["/v1/nowhere", "/v1/jobs/x", "/v1//jobs", "/v1/../v1/jobs"])
def test_an_address_under_v1_needs_a_key_when_there_is_nothing(anybody: Caller, path: str) -> None:
    assert_refused(anybody.client.get(path), "Bearer")


def test_no_other_spelling_of_v1_gets_around_the_key_when_it_is_routed(caller: Caller) -> None:
    for path in ("//v1/jobs", "/V1/jobs", "/%76%31/jobs", "/v1%2fjobs", "/./v1/jobs", "/v1;/jobs"):
        answer = caller.client.get(path, follow_redirects=True)
        assert answer.status_code in (401, 404), path

"""CORS: for the origins that are configured, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.calling import Caller, caller_of, is_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

    from shared.services import Services

OURS, OTHER = "https://app.example", "https://evil.example"


@pytest.fixture
def browser(build: Callable[..., Services]) -> Caller:
    """Of an API that lets scripts of two origins call it."""
    return caller_of(build(cors_origins=[OURS, "http://localhost:5173"]))


def preflight(caller: Caller, origin: str, path: str = "/v1/jobs") -> TestResponse:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
    }
    return caller.client.open(path, method="OPTIONS", headers=headers)


def test_a_preflight_is_answered_without_a_key_when_the_origin_is_ours(browser: Caller) -> None:
    for origin in (OURS, "http://localhost:5173"):
        answer = preflight(browser, origin)
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        allowed = answer.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in ("authorization", "content-type", "prefer"))
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [OTHER, "null", "*", "https://app.example.evil.example", "http://app.example",
     "https://APP.example", "https://app.example:443", ""],
)  # fmt: skip
def test_nothing_is_allowed_when_the_origin_is_another(browser: Caller, origin: str) -> None:
    refused = preflight(browser, origin)
    assert is_problem(refused, 401, "unauthorized")
    answer = browser.get("/v1/engines", headers={"Origin": origin})
    assert answer.status_code == 200
    for headers in (refused.headers, answer.headers):
        assert not [name for name in headers.keys() if name.startswith("Access-Control-")]  # noqa: SIM118
        assert "Origin" in headers["Vary"]


def test_a_script_sees_our_headers_when_it_calls_and_when_it_is_refused(browser: Caller) -> None:
    headers = {"Origin": OURS}
    answers = [
        browser.get("/v1/engines", headers=headers),
        browser.get("/v1/nowhere", headers=headers),
        browser.client.get("/v1/engines", headers=headers),
        browser.client.get("/objects/images/x", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 401, 403]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        exposed = answer.headers["Access-Control-Expose-Headers"]
        assert all(name in exposed for name in ("RateLimit", "Retry-After", "X-Request-Id"))


def test_pages_allow_nobody_when_they_are_opened(browser: Caller) -> None:
    for path in ("/docs", "/studio", "/livez"):
        headers = browser.client.get(path, headers={"Origin": OURS}).headers
        assert "Access-Control-Allow-Origin" not in headers


def test_nothing_is_allowed_when_no_origin_is_configured(caller: Caller) -> None:
    assert is_problem(preflight(caller, OURS), 401, "unauthorized")
    headers = caller.get("/v1/engines", headers={"Origin": OURS}).headers
    assert not [name for name in headers.keys() if name.startswith("Access-Control-")]  # noqa: SIM118
    assert "Vary" not in headers

"""Errors as problems (RFC 9457), names of requests, methods, and what a 500 keeps to itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from api.codes import CODES, JOB_ERRORS, PROBLEMS, VIOLATIONS
from shared import errors
from shared.submission import json_text
from tests.api.calling import Caller, is_problem
from worker.engines.registry import ENGINES

if TYPE_CHECKING:
    from flask import Flask

REPOSITORY = Path(__file__).parents[2]


def test_a_problem_has_the_members_of_the_contract_when_a_body_is_bad(caller: Caller) -> None:
    answer = caller.submit(timeout_s=0, priority="x")
    assert answer.content_type == "application/problem+json"
    body = answer.json
    assert list(body) == ["type", "title", "status", "detail", "code", "request_id", "errors"]
    assert body["type"].endswith(f"/docs/errors#{body['code']}")
    assert body["status"] == answer.status_code == 422
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert [set(entry) for entry in body["errors"]] == [{"pointer", "code", "detail"}] * 2


def test_a_problem_has_no_errors_when_no_body_is_bad(caller: Caller) -> None:
    body = caller.get("/v1/nowhere").json
    assert list(body) == ["type", "title", "status", "detail", "code", "request_id"]


def test_a_problems_type_is_a_page_that_explains_it_when_it_is_opened(caller: Caller) -> None:
    url = caller.submit(timeout_s=0).json["type"]
    path, fragment = re.sub(r"^http://[^/]+", "", url).split("#")
    page = caller.client.get(path)
    assert page.status_code == 200
    assert f'id="{fragment}"' in page.text


@pytest.mark.parametrize("name", ["a", "A-9_z", "x" * 128, "0af7651916cd43dd:b7ad.1"])
def test_a_request_keeps_its_name_when_it_is_a_sane_token(anybody: Caller, name: str) -> None:
    answer = anybody.get("/v1/nowhere", headers={"X-Request-Id": name})
    assert answer.headers["X-Request-Id"] == answer.json["request_id"] == name
    assert anybody.get("/livez", headers={"X-Request-Id": name}).headers["X-Request-Id"] == name


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "a b", "a\tb", "ü", "<b>", "a;b", '"', "%0a"])
def test_a_request_gets_a_name_when_its_own_is_not_sane(anybody: Caller, name: str) -> None:
    answer = anybody.get("/v1/engines", headers={"X-Request-Id": name})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_requests_have_different_names_when_they_bring_none(caller: Caller) -> None:
    assert len({caller.get("/livez").headers["X-Request-Id"] for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("GET", "/v1/jobs/validate", {"POST", "OPTIONS"}),
        ("GET", "/v1/images", {"POST", "OPTIONS"}),
        ("PATCH", f"/v1/jobs/job_{'0' * 32}", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("GET", f"/v1/jobs/job_{'0' * 32}/cancel", {"POST", "OPTIONS"}),
        ("POST", "/livez", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/openapi.json", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/docs", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/v1/engines", {"GET", "HEAD", "OPTIONS"}),
        ("FETCH", "/v1/engines", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_is_refused_with_those_allowed_when_the_address_has_others(
    anybody: Caller, method: str, path: str, allowed: set[str]
) -> None:
    answer = anybody.call(method, path)
    assert is_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/v1/", "/v1/jobs/", "/v1/job", "/v2/jobs", "/docs/assets/../api.py", "/docs/assets/x",
             "/objects", "/favicon.ico", "/%00", "/v1/jobs/%ff", "/static/x"],
)  # fmt: skip
def test_an_address_is_not_found_when_nothing_is_there(anybody: Caller, path: str) -> None:
    assert is_problem(anybody.get(path), 404, "not_found")


def test_a_failure_tells_nothing_of_itself_when_nobody_foresaw_it(
    caller: Caller, services: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(type(services.jobs), "get", fail)
    answer = caller.get(f"/v1/jobs/job_{'0' * 32}", headers={"X-Request-Id": "name-it"})
    assert is_problem(answer, 500, "internal_error")
    assert "swordfish" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json["request_id"] == "name-it"


def test_an_answer_is_not_kept_by_caches_when_it_is_the_apis(caller: Caller) -> None:
    for path in ("/v1/engines", "/v1/jobs", "/v1/nowhere", "/livez"):
        answer = caller.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def all_classes(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(found for child in root.__subclasses__() for found in all_classes(child))]


def codes_in_the_source() -> set[str]:
    """Every literal code of a violation, and every one that pydantic's errors become."""
    found = set(json_text._CODES.values()) | {"wrong_type", "option_out_of_range"}
    for folder in ("api", "shared", *(f"worker/engines/{name}" for name in ENGINES)):
        for path in (REPOSITORY / folder).rglob("*.py"):
            found |= set(re.findall(r'Violation\(\s*[^,]+,\s*"([a-z_]+)"', path.read_text()))
    return found


def test_every_code_is_documented_when_it_can_be_raised() -> None:
    raised = {cls.code for cls in all_classes(errors.TowlineError)} - {"illegal_transition"}
    assert raised - set(CODES) == set()
    in_source = codes_in_the_source()
    assert in_source >= {"point_outside_image", "point_at_mask_border", "image_not_found"}
    assert in_source - set(VIOLATIONS) - set(PROBLEMS) - set(JOB_ERRORS) == set()


def test_every_code_has_its_paragraph_on_the_page_when_it_is_opened(app: Flask) -> None:
    page = app.test_client().get("/docs/errors").text
    for code, about in CODES.items():
        assert f'id="{code}"' in page
        assert about.title
        assert about.paragraph
    for name in re.findall(r'id="([a-z_]+)"', page):
        assert name in CODES


def test_every_code_of_the_contract_is_known_when_the_contract_names_it() -> None:
    contract = """
        image_too_large unsupported_image_type image_unreadable image_not_uploaded image_in_use
        point_outside_image point_outside_mask point_at_mask_border duplicate_handle
        duplicate_target zero_length_drags mask_empty mask_size_mismatch image_not_found
        engine_unavailable option_out_of_range option_not_supported drag_not_reachable warp_folds
        timeout worker_lost storage_unavailable engine_failed job_not_final
    """
    assert set(contract.split()) <= set(CODES)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/v1/jobs/7", "There is no job 7."),
        ("/v1/jobs/7/events", "There is no job 7."),
        ("/v1/images/img_1", "There is no image img_1."),
        ("/v1/webhook-endpoints/x", "There is no webhook endpoint x."),
        (f"/v1/webhook-deliveries/{'x' * 999}", f"There is no webhook delivery {'x' * 100}."),
        (f"/v1/jobs/job_{'0' * 32}/nothing", "There is nothing at this address."),
        ("/v1/nowhere", "There is nothing at this address."),
    ],
)
def test_what_is_absent_is_named_when_an_address_leads_nowhere(
    caller: Caller, path: str, detail: str
) -> None:
    answer = caller.get(path)
    assert is_problem(answer, 404, "not_found")
    assert answer.json["detail"] == detail


def test_no_word_of_a_library_is_in_a_violation_when_a_query_is_wrong(caller: Caller) -> None:
    path = f"/v1/webhook-endpoints/ep_{'0' * 32}/replay-failed?since=yesterday"
    (violation,) = caller.post(path).json["errors"]
    assert violation["detail"] == "expected a time such as 2026-11-23T04:05:06Z (RFC 3339)"

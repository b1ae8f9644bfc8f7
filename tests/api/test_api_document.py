"""`/openapi.json` and the pages: complete, valid, and from no other host."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from api.scopes import NEEDED
from tests.api.calling import Caller, is_problem

if TYPE_CHECKING:
    from flask import Flask

#: Served, but not a part of the contract that clients program against.
PAGES = {
    "/", "/docs", "/docs/start.js", "/docs/assets/{name}", "/docs/errors", "/openapi.json",
    "/studio", "/studio/{name}",
}  # fmt: skip
SIGNED = {"/objects/{key}"}  #: its addresses come ready to use


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/openapi.json")
    assert answer.content_type == "application/json"
    return answer.json  # type: ignore[return-value]


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_document_is_valid_when_it_is_read_as_openapi_3_1(document: dict[str, Any]) -> None:
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    for name, schema in document["components"]["schemas"].items():
        (
            jsonschema_rs.meta.validate(
                {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
            ),
            name,
        )
    for reference in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]


def test_the_document_has_every_address_when_it_is_served(
    app: Flask, document: dict[str, Any]
) -> None:
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    written = {(path, method) for path, method, _ in operations(document)}
    assert written == {(path, method) for path, method in served if path not in PAGES | SIGNED}
    assert any(path.startswith("/v1/") for path, _ in written)


def test_the_document_is_the_same_when_it_is_asked_for_again(app: Flask) -> None:
    first, again = (app.test_client().get("/openapi.json").json for _ in range(2))
    assert first == again


def test_every_operation_is_described_when_it_is_in_the_document(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert "submit_job" in names
    for path, _, operation in operations(document):
        assert operation["summary"]
        assert "`" not in operation["summary"], "a summary is plain text"
        assert operation["tags"]
        is_ours = path.startswith("/v1/")
        scope = NEEDED.get(operation["operationId"])
        assert operation.get("security") == ([{"key": [scope]}] if is_ours else None)
        if is_ours:
            assert {"400", "401", "403", "429", "500", "503"} <= set(operation["responses"])
        if "{" in path:
            assert "404" in operation["responses"]
        for status, response in operation["responses"].items():
            kinds = set(response.get("content", {}))
            is_error = int(status) >= 400 and is_ours
            expected = {"application/problem+json"} if is_error else {"application/json"}
            if path.endswith("/events") and not is_error:
                expected = {"text/event-stream"}
            if path.endswith("/results") and not is_error:
                expected = {"application/jsonl"}
            if path.endswith("/archive") and not is_error:
                expected = {"application/zip"}
            if path == "/metrics":
                expected = {"text/plain"}
            assert kinds == (set() if status == "204" else expected), (path, status)


def test_the_example_of_a_job_fits_its_schema_when_ids_are_real(
    caller: Caller, document: dict[str, Any]
) -> None:
    schemas = document["components"]["schemas"]
    (example,) = schemas["JobBody"]["examples"]
    whole = {"$ref": "#/components/schemas/JobBody", "components": {"schemas": schemas}}
    jsonschema_rs.validate(whole, example)
    found = caller.post("/v1/jobs/validate", json=example).json["problems"]
    assert [(entry["pointer"], entry["code"]) for entry in found] == [("/image", "image_not_found")]


def test_a_shown_job_fits_its_schema_when_it_is_read(
    caller: Caller, document: dict[str, Any]
) -> None:
    components = {"components": {"schemas": document["components"]["schemas"]}}
    job = caller.job()
    for name, value in (
        ("JobOut", job), ("JobsOut", caller.get("/v1/jobs").json), ("JobBody", job["request"]),
        ("ProblemOut", caller.submit(timeout_s=0).json), ("ValidationOut", caller.validate()),
        ("EnginesOut", caller.get("/v1/engines").json), ("ReadyOut", caller.get("/readyz").json),
        ("AccountOut", caller.get("/v1/account").json),
        ("AuditLogOut", caller.get("/v1/audit-log").json),
    ):  # fmt: skip
        jsonschema_rs.validate({"$ref": f"#/components/schemas/{name}", **components}, value)


@pytest.mark.parametrize("path", ["/docs", "/docs/errors"])
def test_a_page_needs_no_other_host_when_it_is_opened(caller: Caller, path: str) -> None:
    page = caller.client.get(path)
    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"
    assert not re.findall(r"""(?:https?:)?//[^\s"'<>]+""", page.text.replace("<!doctype", ""))
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy
    for asset in re.findall(r'(?:src|href)="([^"#]+)"', page.text):
        if not asset.startswith("data:"):
            answer = caller.client.get(asset)
            assert answer.status_code == 200, asset
            assert_loads_nothing_foreign(answer.text, asset)


def assert_loads_nothing_foreign(text: str, asset: str) -> None:
    """Addresses that are only text (licences, namespaces) are no requests."""
    if asset.endswith(".css"):
        loaded = re.findall(r"@import\s+[^;]+|url\(([^)]+)\)", text)
        assert all(address.strip("'\"").startswith(("data:", "#")) for address in loaded)
    if asset == "/docs/start.js":
        assert "//" not in text
        assert "validatorUrl: null" in text


def test_the_root_leads_to_the_docs_when_it_is_opened(caller: Caller) -> None:
    answer = caller.client.get("/")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/docs"


@pytest.mark.parametrize("name", ["../__init__.py", "%2e%2e/x", "css", ".", "x.js"])
def test_an_asset_is_not_found_when_it_is_none(caller: Caller, name: str) -> None:
    assert is_problem(caller.client.get(f"/docs/assets/{name}"), 404, "not_found")

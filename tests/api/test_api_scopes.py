"""What a key may do is its scopes; each route says which one it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from api.scopes import NEEDED, operation_of, require_declared_scopes
from shared.accounts.keys import Scope
from tests.api.calling import Caller, is_problem
from tests.api.routes import address_of, braced

if TYPE_CHECKING:
    from flask import Flask

    from shared.services import Services


def with_scopes(caller: Caller, services: Services, *scopes: Scope) -> Caller:
    """The same account, by another key."""
    name = services.accounts.get(caller.account_id).name
    return replace(caller, key=services.accounts.create_key(name, scopes=scopes).text)


def operations(app: Flask) -> list[tuple[str, str, Scope]]:
    """Every method and address under `/v1`, and the scope that it is declared to need."""
    return [
        (method, address_of(braced(rule)), NEEDED[operation_of(rule.endpoint)])
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/")
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]  # fmt: skip


@pytest.mark.parametrize("scope", Scope)
def test_every_operation_is_refused_when_its_scope_is_the_one_that_is_missing(
    app: Flask, caller: Caller, services: Services, scope: Scope
) -> None:
    others = with_scopes(caller, services, *(set(Scope) - {scope}))
    for method, address, needed in operations(app):
        answer = others.call(method, address)
        assert (answer.status_code == 403) == (needed is scope), (method, address)
        if needed is scope:
            expected = f'Bearer error="insufficient_scope", scope="{scope}"'
            assert answer.headers["WWW-Authenticate"] == expected
            assert method == "HEAD" or is_problem(answer, 403, "insufficient_scope")


def test_reading_changes_nothing_and_writing_needs_write_on_every_route(app: Flask) -> None:
    """`POST /v1/jobs/validate` stores nothing."""
    for method, address, needed in operations(app):
        is_reading = method in ("GET", "HEAD") or address == "/v1/jobs/validate"
        assert needed is not Scope.WRITE if is_reading else needed is not Scope.READ, address


def test_a_key_that_may_only_write_submits_and_sees_no_list(
    caller: Caller, services: Services
) -> None:
    writer = with_scopes(caller, services, Scope.WRITE)
    job = writer.job()
    assert is_problem(writer.get(f"/v1/jobs/{job['id']}"), 403, "insufficient_scope")
    assert is_problem(writer.get("/v1/audit-log"), 403, "insufficient_scope")
    assert writer.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200


def test_nothing_is_done_when_the_scope_is_missing(caller: Caller, services: Services) -> None:
    reader = with_scopes(caller, services, Scope.READ)
    job = caller.job()["id"]
    assert is_problem(reader.post(f"/v1/jobs/{job}/cancel"), 403, "insufficient_scope")
    assert reader.get(f"/v1/jobs/{job}").json["status"] == "queued"


def test_what_does_not_exist_needs_no_scope_when_it_is_asked_for(
    caller: Caller, services: Services
) -> None:
    reader = with_scopes(caller, services, Scope.READ)
    assert is_problem(reader.post("/v1/nowhere"), 404, "not_found")
    assert is_problem(reader.call("PUT", "/v1/jobs"), 405, "method_not_allowed")


def test_the_start_is_stopped_when_a_route_does_not_say_who_may_call_it(app: Flask) -> None:
    require_declared_scopes(app)
    app.add_url_rule("/v1/new", "jobs.forgotten", lambda: "", methods=["POST"])
    with pytest.raises(LookupError, match="forgotten"):
        require_declared_scopes(app)


def test_a_declaration_belongs_to_a_route_that_is_there(app: Flask) -> None:
    served = {operation_of(rule.endpoint) for rule in app.url_map.iter_rules()}
    assert set(NEEDED) <= served


def test_an_account_shows_its_key_its_quotas_and_its_usage_when_it_asks(
    caller: Caller, services: Services
) -> None:
    reader = with_scopes(caller, services, Scope.READ)
    name = services.accounts.get(caller.account_id).name
    services.accounts.set_limits(name, {"queued_jobs": 5, "pixels_per_month": 10**9})
    caller.job()
    shown = reader.get("/v1/account").json
    assert (shown["id"], shown["name"]) == (caller.account_id, name)
    assert shown["key"]["scopes"] == ["read"]
    assert reader.key not in str(shown)
    assert shown["quotas"] == {
        "requests_per_s": 1000, "queued_jobs": 5, "running_jobs": None,
        "stored_bytes": None, "pixels_per_month": 10**9,
    }  # fmt: skip
    usage = shown["usage"]
    assert (usage["queued_jobs"], usage["running_jobs"]) == (1, 0)
    assert usage["pixels_per_month"] == 64 * 48
    assert usage["stored_bytes"] > 0

"""Webhook endpoints, deliveries and secrets, as clients see them."""

from __future__ import annotations

from typing import Any

import pytest

from shared.services import Services
from shared.webhooks.dispatch import Outcome
from tests.api.calling import NOBODY, Caller, is_problem, said
from tests.factories import HOOK, a_result
from tests.hostile.urls import URLS

ENDPOINTS, DELIVERIES = "/v1/webhook-endpoints", "/v1/webhook-deliveries"


def create(caller: Caller, **changes: Any) -> dict[str, Any]:
    answer = caller.post(ENDPOINTS, json={"url": HOOK, **changes})
    assert answer.status_code == 201, answer.text
    return answer.json  # type: ignore[return-value]


def end_a_job(caller: Caller, services: Services, **changes: Any) -> str:
    """A job that has succeeded."""
    job_id = caller.job(**changes)["id"]
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    assert services.leases.succeed(job, a_result(job))
    return str(job_id)


def fail_all(services: Services) -> None:
    """As if every receiver had said no for the last time."""
    claims, _ = services.webhooks.dispatch.claim("", lambda lane, taken: 100, 100)
    said_no = {"is_success": False, "is_gone": False, "retry_in_ms": None, "duration_ms": 5,
               "http_status": 500, "answer": "no", "error": "status"}  # fmt: skip
    services.webhooks.dispatch.record([Outcome(claim=claim, **said_no) for claim in claims])


def test_an_endpoint_shows_its_secret_once(caller: Caller) -> None:
    made = create(caller, events=["job.*"], description="mine")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["url"] == HOOK
    assert (made["events"], made["disabled"], made["description"]) == (["job.*"], False, "mine")
    answer = caller.get(f"{ENDPOINTS}/{made['id']}")
    assert answer.json == made
    assert caller.get(ENDPOINTS).json == {"data": [made], "next_cursor": None}
    assert secret not in answer.text


def test_an_endpoint_wants_everything_when_it_does_not_say(caller: Caller) -> None:
    assert create(caller)["events"] == ["*"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, {("/url", "missing_field")}),
        ({"url": 5}, {("/url", "wrong_type")}),
        ({"url": ""}, {("/url", "wrong_length")}),
        ({"url": HOOK, "events": []}, {("/events", "wrong_length")}),
        ({"url": HOOK, "events": "job.*"}, {("/events", "wrong_type")}),
        ({"url": "http://a.example/", "events": ["job.*", "job.done"]},
         {("/url", "webhook_url_not_https"), ("/events/1", "out_of_range")}),
        ({"url": HOOK, "secret": "whsec_x"}, {("/secret", "unknown_field")}),
        ({"url": HOOK, "description": "\x00"}, {("/description", "wrong_format")}),
        ({"url": HOOK, "disabled": 1}, {("/disabled", "wrong_type")}),
    ],
)  # fmt: skip
def test_an_endpoint_is_refused_with_all_that_is_wrong_with_it(
    anybody: Caller, body: dict[str, Any], found: set[tuple[str, str]]
) -> None:
    assert said(anybody.post(ENDPOINTS, json=body)) == found


@pytest.mark.parametrize("url", [url for url in URLS if 0 < len(url) <= 2048], ids=ascii)
def test_a_hostile_url_is_refused_wherever_it_is_given(anybody: Caller, url: str) -> None:
    assert said(anybody.post(ENDPOINTS, json={"url": url})) == {("/url", URLS[url])}
    answer = anybody.post("/v1/jobs/validate", json={"image": "x", "webhook": {"url": url}})
    problems = {(entry["pointer"], entry["code"]) for entry in answer.json["problems"]}
    assert ("/webhook/url", URLS[url]) in problems


def test_an_endpoint_is_changed_disabled_and_enabled(caller: Caller) -> None:
    endpoint = create(caller)
    path = f"{ENDPOINTS}/{endpoint['id']}"
    changed = caller.call("PATCH", path, json={"events": ["job.failed"], "disabled": True}).json
    assert changed is not None
    assert (changed["events"], changed["disabled_reason"]) == (["job.failed"], "owner")
    assert changed["url"] == HOOK
    assert is_problem(caller.post(f"{path}/test"), 409, "endpoint_disabled")
    again = caller.call("PATCH", path, json={"disabled": False}).json
    assert again is not None
    assert (again["disabled"], again["disabled_at"]) == (False, None)
    assert caller.call("PATCH", path, json={}).json == again
    for body, found in (
        ({"url": "https://10.0.0.1/"}, {("/url", "webhook_address_refused")}),
        ({"url": None, "events": ["nothing"]}, {("/url", "wrong_type")}),
        ({"id": "x"}, {("/id", "unknown_field")}),
    ):
        assert said(caller.call("PATCH", path, json=body)) == found


def test_an_endpoint_is_gone_with_its_log_when_it_is_deleted(
    caller: Caller, services: Services
) -> None:
    endpoint = create(caller)
    end_a_job(caller, services)
    assert len(caller.get(DELIVERIES).json["data"]) == 1
    path = f"{ENDPOINTS}/{endpoint['id']}"
    assert caller.delete(path).status_code == 204
    assert is_problem(caller.delete(path), 404, "not_found")
    assert caller.get(DELIVERIES).json == {"data": [], "next_cursor": None}


def test_an_account_has_no_more_endpoints_than_it_may_have(build: Any) -> None:
    from tests.api.calling import caller_of

    caller = caller_of(build(webhook_max_endpoints=1))
    create(caller)
    answer = caller.post(ENDPOINTS, json={"url": HOOK})
    assert is_problem(answer, 409, "too_many_endpoints")


def test_a_secret_is_another_when_it_was_rotated(caller: Caller) -> None:
    endpoint = create(caller)
    rotated = caller.post(f"{ENDPOINTS}/{endpoint['id']}/rotate-secret").json
    assert rotated is not None
    assert rotated["secret"] != endpoint["secret"]
    assert rotated["previous_secret_expires_at"] > rotated["created_at"]
    first = caller.get("/v1/webhook-secret").json
    assert first is not None
    assert first == caller.get("/v1/webhook-secret").json
    assert first["previous_secret_expires_at"] is None
    second = caller.post("/v1/webhook-secret/rotate").json
    assert second is not None
    assert second["secret"] not in (first["secret"], endpoint["secret"])
    assert second == caller.get("/v1/webhook-secret").json


def test_a_delivery_is_in_the_log_with_its_attempts(caller: Caller, services: Services) -> None:
    endpoint = create(caller)
    job_id = end_a_job(caller, services)
    (waiting,) = caller.get(DELIVERIES).json["data"]
    assert waiting["next_attempt_at"] is not None
    fail_all(services)
    delivery = caller.get(f"{DELIVERIES}/{waiting['id']}").json
    assert delivery is not None
    (attempt,) = delivery.pop("attempts")
    assert attempt.pop("at") >= delivery.pop("created_at")
    assert attempt == {"attempt": 1, "duration_ms": 5, "http_status": 500, "answer": "no",
                       "error": "status", "detail": None}  # fmt: skip
    assert delivery.pop("finished_at") is not None
    assert delivery.pop("event").startswith("evt_")
    assert delivery == {
        "id": waiting["id"], "type": "job.succeeded", "job": job_id, "endpoint": endpoint["id"],
        "url": HOOK, "status": "failed", "next_attempt_at": None,
    }  # fmt: skip


def test_a_job_s_own_webhook_is_shown_and_told_and_kept_by_a_retry(
    caller: Caller, services: Services
) -> None:
    webhook = {"url": HOOK, "events": ["job.succeeded"]}
    job_id = end_a_job(caller, services, webhook=webhook)
    assert caller.get(f"/v1/jobs/{job_id}").json["request"]["webhook"] == webhook
    (delivery,) = caller.get(DELIVERIES).json["data"]
    assert (delivery["url"], delivery["endpoint"], delivery["job"]) == (HOOK, None, job_id)
    again = caller.post(f"/v1/jobs/{job_id}/retry").json
    assert again is not None
    assert again["request"]["webhook"] == webhook


def test_the_log_is_filtered_and_read_page_by_page(caller: Caller, services: Services) -> None:
    first, second = create(caller), create(caller, events=["job.failed"])
    jobs = [end_a_job(caller, services) for _ in range(3)]
    everything = caller.get(DELIVERIES).json["data"]
    assert [each["job"] for each in everything] == jobs[::-1]
    page = caller.get(f"{DELIVERIES}?limit=2").json
    assert page["data"] == everything[:2]
    rest = caller.get(f"{DELIVERIES}?limit=2&cursor={page['next_cursor']}").json
    assert rest == {"data": everything[2:], "next_cursor": None}
    for query, count in (
        (f"endpoint={first['id']}", 3), (f"endpoint={second['id']}", 0), (f"job={jobs[1]}", 1),
        ("status=pending", 3), ("status=succeeded", 0), (f"job={jobs[0]}&status=pending", 1),
    ):  # fmt: skip
        assert len(caller.get(f"{DELIVERIES}?{query}").json["data"]) == count, query
    for query, pointer in (
        ("status=done", "/status"), ("endpoint=ep_1", "/endpoint"), ("cursor=x", "/cursor"),
        ("limit=0", "/limit"), ("color=red", "/color"),
    ):  # fmt: skip
        assert {p for p, _ in said(caller.get(f"{DELIVERIES}?{query}"))} == {pointer}


def test_what_failed_is_sent_again_one_by_one_and_all_at_once(
    caller: Caller, services: Services
) -> None:
    endpoint = create(caller)
    for _ in range(3):
        end_a_job(caller, services)
    fail_all(services)
    failed = caller.get(DELIVERIES).json["data"]
    answer = caller.post(f"{DELIVERIES}/{failed[0]['id']}/replay")
    assert (answer.status_code, answer.json["status"]) == (202, "pending")
    assert answer.json["event"] == failed[0]["event"]
    path = f"{ENDPOINTS}/{endpoint['id']}/replay-failed"
    assert caller.post(f"{path}?since=2999-01-01T00:00:00Z").json == {
        "replayed": 0, "has_more": False,
    }  # fmt: skip
    answer = caller.post(f"{path}?since=2020-01-01T00:00:00%2B09:00")
    assert (answer.status_code, answer.json) == (202, {"replayed": 2, "has_more": False})
    assert len(caller.get(f"{DELIVERIES}?status=pending").json["data"]) == 3
    for query, code in (("", "missing_field"), ("since=yesterday", "wrong_format"),
                        ("since=2026-13-01T00:00:00Z", "wrong_format")):  # fmt: skip
        assert said(caller.post(f"{path}?{query}")) == {("/since", code)}


def test_a_test_is_sent_when_it_is_asked_for(caller: Caller) -> None:
    endpoint = create(caller, events=["job.failed"])
    answer = caller.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    assert answer.status_code == 202
    assert (answer.json["type"], answer.json["job"]) == ("endpoint.test", None)


def test_nothing_is_there_when_it_is_another_accounts(
    caller: Caller, stranger: Caller, services: Services
) -> None:
    endpoint = create(caller)["id"]
    end_a_job(caller, services)
    delivery = caller.get(DELIVERIES).json["data"][0]["id"]
    calls = [
        *(("GET", f"{ENDPOINTS}/{endpoint}"), ("DELETE", f"{ENDPOINTS}/{endpoint}")),
        *(("POST", f"{ENDPOINTS}/{endpoint}/{verb}") for verb in ("rotate-secret", "test")),
        ("POST", f"{ENDPOINTS}/{endpoint}/replay-failed?since=2020-01-01T00:00:00Z"),
        ("GET", f"{DELIVERIES}/{delivery}"),
        ("POST", f"{DELIVERIES}/{delivery}/replay"),
    ]
    for method, path in calls:
        theirs = stranger.call(method, path)
        unknown = path.replace(endpoint, f"ep_{NOBODY}").replace(delivery, f"dlv_{NOBODY}")
        assert is_problem(theirs, 404, "not_found")
        assert is_problem(caller.call(method, unknown), 404, "not_found")
    assert is_problem(stranger.call("PATCH", calls[0][1], json={}), 404, "not_found")
    assert stranger.get(DELIVERIES).json["data"] == stranger.get(ENDPOINTS).json["data"] == []
    assert stranger.get(f"{DELIVERIES}?endpoint={endpoint}").json["data"] == []
    assert caller.get(f"{ENDPOINTS}/{endpoint}").status_code == 200


def test_a_secret_that_cannot_be_read_is_said_to_be_so(
    caller: Caller, services: Services, build: Any
) -> None:
    from api.app import create_app

    assert caller.get("/v1/webhook-secret").status_code == 200
    other = Caller(
        create_app(build(secret_key="another")).test_client(), caller.key, caller.account_id
    )
    assert is_problem(other.get("/v1/webhook-secret"), 409, "secret_unreadable")
    assert other.post("/v1/webhook-secret/rotate").status_code == 200

"""Limits over HTTP: 429, when to come back, and what every answer says of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from shared.accounts.keys import Scope, new_key
from shared.accounts.limiter import Limiter
from shared.errors import DatabaseUnavailable
from tests.api.calling import Caller, caller_of, is_problem
from tests.api.test_api_scopes import with_scopes
from tests.factories import a_picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.services import Services
    from tests.broker import Valkey


@pytest.fixture
def counted(build: Callable[..., Services], broker: Valkey) -> tuple[Caller, Services]:
    """A caller whose requests a real Valkey counts: one in a second."""
    services = build(redis_url=broker.url, limit_requests_per_s=1)
    services.limiter._redis.connection_pool.connection_kwargs["socket_timeout"] = 5.0
    return caller_of(services), services


def limit(caller: Caller, services: Services, **limits: int) -> None:
    services.accounts.set_limits(services.accounts.get(caller.account_id).name, limits)


def test_a_request_too_many_is_refused_with_the_time_to_come_back(
    counted: tuple[Caller, Services],
) -> None:
    caller, services = counted
    answers = [caller.get("/v1/engines") for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert answers[0].status_code == 200
    assert refused
    assert all("Retry-After" not in answer.headers for answer in answers if answer not in refused)
    for answer in answers:
        assert answer.headers["RateLimit-Policy"] == '"requests";q=1;w=1'
        assert re.fullmatch(r'"requests";r=0;t=1', answer.headers["RateLimit"])
    assert is_problem(refused[0], 429, "rate_limited")
    assert refused[0].headers["Retry-After"] == "1"
    assert services.limiter.unchecked == 0
    other = services.accounts.create_key("another").text
    headers = {"Authorization": f"Bearer {other}"}
    assert caller.client.get("/v1/engines", headers=headers).status_code == 200


def test_every_answer_says_what_is_left_whatever_its_status(
    counted: tuple[Caller, Services],
) -> None:
    caller, services = counted
    limit(caller, services, requests_per_s=10_000)
    image = "img_" + "0" * 32
    for answer, status in (
        (caller.get("/v1/engines"), 200), (caller.get("/v1/nowhere"), 404),
        (caller.call("PUT", "/v1/jobs"), 405), (caller.delete(f"/v1/images/{image}"), 404),
        (caller.post("/v1/jobs", data="{", content_type="application/json"), 400),
        (caller.post("/v1/jobs", json={}), 422), (caller.get("/v1/engines?x=1"), 422),
    ):  # fmt: skip
        assert answer.status_code == status
        assert answer.headers["RateLimit-Policy"] == '"requests";q=10000;w=1'
        assert re.fullmatch(r'"requests";r=99\d\d;t=1', answer.headers["RateLimit"])
    reader = with_scopes(caller, services, Scope.READ)
    refused = reader.submit(image=image)
    assert is_problem(refused, 403, "insufficient_scope")
    assert "RateLimit" in refused.headers


def test_an_answer_says_what_is_left_when_it_is_a_replay_a_stream_or_another_limits_refusal(
    counted: tuple[Caller, Services],
) -> None:
    caller, services = counted
    limit(caller, services, requests_per_s=10_000, queued_jobs=1)
    body, key = caller.body(), {"Idempotency-Key": "the-key"}
    answers = [caller.post("/v1/jobs", json=body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    full = caller.post("/v1/jobs", json=body)
    assert is_problem(full, 429, "too_many_queued_jobs")
    other = caller.post("/v1/jobs", json={**body, "priority": "low"}, headers=key)
    assert is_problem(other, 422, "idempotency_key_reused")
    path = f"/v1/jobs/{answers[0].json['id']}"
    stream = caller.get(f"{path}/events")
    stream.close()
    answers += [full, other, stream, caller.get(path), caller.call("HEAD", path)]
    left = []
    for answer in answers:
        assert answer.headers["RateLimit-Policy"] == '"requests";q=10000;w=1'
        (count,) = re.fullmatch(r'"requests";r=(\d+);t=1', answer.headers["RateLimit"]).groups()
        left.append(int(count))
    assert min(left) > 9000, "what is left of requests, also where another limit refused"


def test_an_answer_says_what_is_left_when_nobody_foresaw_it_or_a_server_is_away(
    counted: tuple[Caller, Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, services = counted
    limit(caller, services, requests_per_s=10_000)
    for error, status, code in (
        (RuntimeError("nobody foresaw it"), 500, "internal_error"),
        (DatabaseUnavailable("away"), 503, "database_unavailable"),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(services.jobs, "page", fail)
            answer = caller.get("/v1/jobs")
        assert is_problem(answer, status, code)
        assert answer.headers["RateLimit-Policy"] == '"requests";q=10000;w=1'
        assert re.fullmatch(r'"requests";r=99\d\d;t=1', answer.headers["RateLimit"])
    with monkeypatch.context() as patch:
        patch.setattr(services.accounts, "identify", fail)
        answer = caller.get("/v1/jobs")
    assert is_problem(answer, 503, "database_unavailable")
    assert "RateLimit-Policy" not in answer.headers, "nobody knows whose request it was"


def test_an_account_without_the_limit_is_not_counted(counted: tuple[Caller, Services]) -> None:
    caller, services = counted
    limit(caller, services, requests_per_s=0)
    for _ in range(5):
        answer = caller.get("/v1/engines")
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers
        assert "RateLimit-Policy" not in answer.headers


def test_who_has_no_key_is_told_nothing_of_limits(counted: tuple[Caller, Services]) -> None:
    caller, _ = counted
    unknown = {"Authorization": f"Bearer {new_key().text}"}
    answers = [caller.client.get(path) for path in ("/v1/engines", "/livez", "/docs")]
    answers.append(caller.client.get("/v1/engines", headers=unknown))
    assert [answer.status_code for answer in answers] == [401, 200, 200, 401]
    for answer in answers:
        assert not {"RateLimit", "RateLimit-Policy", "Retry-After"} & set(answer.headers.keys())


def test_a_request_passes_and_is_counted_when_redis_is_away(
    caller: Caller, services: Services
) -> None:
    """The fixture's broker never answers."""
    answer = caller.get("/v1/engines")
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"requests";q=1000;w=1'
    assert "RateLimit" not in answer.headers
    assert isinstance(services.limiter, Limiter)
    assert services.limiter.unchecked == 1


def test_a_job_too_many_is_refused_until_one_has_started(
    caller: Caller, services: Services
) -> None:
    limit(caller, services, queued_jobs=2)
    image = caller.image()
    first = caller.job(image=image)
    caller.job(image=image)
    refused = caller.submit(image=image)
    assert is_problem(refused, 429, "too_many_queued_jobs")
    assert int(refused.headers["Retry-After"]) >= 1
    assert len(caller.get("/v1/jobs").json["data"]) == 2
    caller.post(f"/v1/jobs/{first['id']}/cancel")
    assert caller.post(f"/v1/jobs/{first['id']}/retry").status_code == 202
    assert is_problem(caller.post(f"/v1/jobs/{first['id']}/retry"), 429, "too_many_queued_jobs")


def test_a_job_is_refused_until_next_month_when_the_pixels_are_spent(
    caller: Caller, services: Services
) -> None:
    limit(caller, services, pixels_per_month=64 * 48)
    image = caller.image()
    caller.job(image=image)
    refused = caller.submit(image=image)
    assert is_problem(refused, 429, "pixel_quota_exceeded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 31 * 86_400 + 1


def test_an_upload_is_refused_and_leaves_nothing_when_there_is_no_room(
    caller: Caller, services: Services
) -> None:
    first, second = a_picture(seed=1), a_picture(seed=2)
    limit(caller, services, stored_bytes=len(first) + 10)
    caller.image(first)
    refused = caller.send_picture(second)
    assert is_problem(refused, 429, "storage_quota_exceeded")
    assert int(refused.headers["Retry-After"]) >= 1
    assert is_problem(caller.announce(second), 429, "storage_quota_exceeded")
    assert caller.send_picture(first).status_code == 200, "the same bytes take no more room"
    prefix = f"images/{caller.account_id}/"
    assert len(services.objects.walk(prefix, "", 10)) == 1


def test_the_bytes_of_an_upload_go_again_when_a_rival_took_the_room(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look finds room, the one inside the transaction does not."""
    limit(caller, services, stored_bytes=10)
    monkeypatch.setattr(services.images, "require_room", lambda *_: None)
    assert is_problem(caller.send_picture(a_picture()), 429, "storage_quota_exceeded")
    assert services.objects.walk(f"images/{caller.account_id}/", "", 10) == []

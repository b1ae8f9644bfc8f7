"""Requests with one `Idempotency-Key` at the same time: one makes, the others wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import api.idempotency
from shared.idempotency.store import LEASE_MS
from shared.jobs.tables import jobs
from tests.api.calling import Caller, caller_of, is_problem, until
from tests.api.test_api_idempotency import KEY, count, of_picture, same
from tests.api.test_api_waiting import beside
from tests.factories import let_pass

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from shared.services import Services


class Gate:
    """Holds a submission inside its view until it is opened."""

    def __init__(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        real, gate = type(services.jobs).submit, self

        def submit(self: Any, *arguments: Any, **named: Any) -> Any:
            gate.reached.set()
            assert gate.open.wait(20)
            return real(self, *arguments, **named)

        monkeypatch.setattr(type(services.jobs), "submit", submit)


def test_a_rival_gets_the_same_job_when_the_first_ends_within_two_seconds(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, gate = caller.body(), Gate(services, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(beside(caller).post, "/v1/jobs", json=body, headers=KEY)
        assert gate.reached.wait(10)
        rival = pool.submit(beside(caller).post, "/v1/jobs", json=body, headers=KEY)
        until(lambda: caller.client.application.extensions["towline"].watcher._count == 1)
        gate.open.set()
        assert same(first.result(10), rival.result(10))
    assert count(services, jobs) == 1


def test_a_rival_is_told_to_come_back_when_the_first_takes_longer(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(api.idempotency.PAUSES_S) == pytest.approx(2)
    body, gate = caller.body(), Gate(services, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(beside(caller).post, "/v1/jobs", json=body, headers=KEY)
        assert gate.reached.wait(10)
        other = caller.post("/v1/jobs", json=body | {"timeout_s": 9}, headers=KEY)
        assert is_problem(other, 422, "idempotency_key_reused")
        began_s = time.monotonic()
        rival = caller.post("/v1/jobs", json=body, headers=KEY)
        assert 2 <= time.monotonic() - began_s < 10
        assert is_problem(rival, 409, "idempotency_key_in_flight")
        assert int(rival.headers["Retry-After"]) >= 1
        gate.open.set()
        assert same(first.result(10), caller.post("/v1/jobs", json=body, headers=KEY))


def test_a_rival_does_not_wait_when_too_many_wait_already(
    build: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = build(max_waits=0)
    caller = caller_of(services)
    body, gate = caller.body(), Gate(services, monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(beside(caller).post, "/v1/jobs", json=body, headers=KEY)
        assert gate.reached.wait(10)
        began_s = time.monotonic()
        rival = caller.post("/v1/jobs", json=body, headers=KEY)
        assert is_problem(rival, 409, "idempotency_key_in_flight")
        assert time.monotonic() - began_s < 2
        gate.open.set()
        assert first.result(10).status_code == 202


def test_an_old_holder_answers_409_and_makes_nothing_when_a_rival_took_over(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = caller.body()
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        gate = Gate(services, patch)
        old = pool.submit(beside(caller).post, "/v1/jobs", json=body, headers=KEY)
        assert gate.reached.wait(10)
        patch.undo()
        let_pass(services.database, LEASE_MS / 1000 + 1)
        new = caller.post("/v1/jobs", json=body, headers=KEY)
        assert new.status_code == 202
        gate.open.set()
        assert is_problem(old.result(10), 409, "idempotency_key_in_flight")
    assert count(services, jobs) == 1
    assert same(new, caller.post("/v1/jobs", json=body, headers=KEY))


def test_an_old_holder_leaves_no_bytes_when_a_rival_took_over(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, real = of_picture(caller), type(services.objects).put
    answers: list[TestResponse] = []

    def put(self: Any, key: str, data: bytes) -> None:
        real(self, key, data)
        if not answers:
            answers.append(None)  # type: ignore[arg-type]
            let_pass(services.database, LEASE_MS / 1000 + 1)
            answers[:] = [beside(caller).post(**request, headers=KEY)]

    monkeypatch.setattr(type(services.objects), "put", put)
    old = caller.post(**request, headers=KEY)
    assert is_problem(old, 409, "idempotency_key_in_flight")
    assert answers[0].status_code == 201
    (stored,) = services.objects.walk("images/", "", 10)
    assert stored.key == services.images.get(caller.account_id, answers[0].json["id"]).object_key

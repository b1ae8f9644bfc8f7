"""`Prefer: wait`: answered when the job ends, at the limit, or at once when it must be."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from api.context import EXTENSION
from api.waiting import FinalWatcher
from tests.api.calling import Caller, caller_of, is_problem, until
from tests.factories import a_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from werkzeug.test import TestResponse

    from shared.services import Services

LONG = "wait=60"
SOON_S = 5.0  #: far less than the 60 s that are asked for, far more than is needed


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def watcher(caller: Caller) -> FinalWatcher:
    found: FinalWatcher = caller.client.application.extensions[EXTENSION].watcher
    return found


def beside(caller: Caller) -> Caller:
    """The same account in another thread."""
    return Caller(caller.client.application.test_client(), caller.key, caller.account_id)


def waiting(
    pool: ThreadPoolExecutor, caller: Caller, path: str, **options: Any
) -> Future[TestResponse]:
    """A request that waits in another thread, begun for certain."""
    method = "POST" if "json" in options else "GET"
    before = watcher(caller)._count
    answer = pool.submit(beside(caller).call, method, path, headers={"Prefer": LONG}, **options)
    until(lambda: watcher(caller)._count > before or answer.done())
    return answer


def finish(services: Services) -> None:
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    assert services.leases.succeed(job, a_result(job))


def test_a_wait_is_over_when_the_job_succeeds(
    caller: Caller, services: Services, pool: ThreadPoolExecutor
) -> None:
    job_id = caller.job()["id"]
    answer = waiting(pool, caller, f"/v1/jobs/{job_id}")
    assert not answer.done()
    finish(services)
    found = answer.result(SOON_S)
    assert (found.status_code, found.json["status"]) == (200, "succeeded")
    assert found.headers["Preference-Applied"] == "wait=60"


def test_a_submission_answers_200_when_its_job_ends_within_the_wait(
    caller: Caller, services: Services, pool: ThreadPoolExecutor
) -> None:
    answer = waiting(pool, caller, "/v1/jobs", json=caller.body())
    finish(services)
    found = answer.result(SOON_S)
    assert (found.status_code, found.json["status"]) == (200, "succeeded")
    assert found.headers["Location"] == f"/v1/jobs/{found.json['id']}"


def test_a_submission_answers_202_when_its_job_does_not_end_within_the_wait(
    caller: Caller,
) -> None:
    started = time.monotonic()
    answer = caller.post("/v1/jobs", json=caller.body(), headers={"Prefer": "wait=1"})
    assert time.monotonic() - started >= 1
    assert (answer.status_code, answer.json["status"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_a_wait_answers_at_once_when_the_job_has_ended(caller: Caller, services: Services) -> None:
    job_id = caller.job()["id"]
    finish(services)
    started = time.monotonic()
    answer = caller.get(f"/v1/jobs/{job_id}", headers={"Prefer": LONG})
    assert answer.json["status"] == "succeeded"
    assert time.monotonic() - started < SOON_S


def test_a_wait_is_over_for_everybody_when_many_wait_for_one_job(
    caller: Caller, services: Services, pool: ThreadPoolExecutor
) -> None:
    job_id = caller.job()["id"]
    answers = [waiting(pool, caller, f"/v1/jobs/{job_id}") for _ in range(5)]
    finish(services)
    assert {answer.result(SOON_S).json["status"] for answer in answers} == {"succeeded"}
    assert watcher(caller)._count == 0
    assert not watcher(caller)._waiting


def test_a_wait_is_over_when_the_job_is_canceled_or_deleted(
    caller: Caller, pool: ThreadPoolExecutor
) -> None:
    job_id = caller.job()["id"]
    answer = waiting(pool, caller, f"/v1/jobs/{job_id}")
    caller.post(f"/v1/jobs/{job_id}/cancel")
    caller.delete(f"/v1/jobs/{job_id}")
    found = answer.result(SOON_S)
    assert found.status_code in (200, 404)
    assert found.status_code == 404 or found.json["status"] == "canceled"


def test_a_wait_is_over_at_once_when_too_many_wait_already(build: Callable[..., Services]) -> None:
    services = build(max_waits=1)
    caller = caller_of(services)
    body = caller.body()
    with ThreadPoolExecutor(1) as pool:
        first = waiting(pool, caller, "/v1/jobs", json=body)
        started = time.monotonic()
        second = caller.post("/v1/jobs", json=body, headers={"Prefer": LONG})
        assert (second.status_code, second.json["status"]) == (202, "queued")
        assert time.monotonic() - started < SOON_S
        finish(services)
        assert first.result(SOON_S).status_code == 200


def test_a_wait_is_over_when_the_process_is_told_to_end(
    caller: Caller, pool: ThreadPoolExecutor
) -> None:
    path = f"/v1/jobs/{caller.job()['id']}"
    answer = waiting(pool, caller, path)
    caller.client.application.extensions[EXTENSION].notifier.close()
    assert answer.result(SOON_S).json["status"] == "queued"
    started = time.monotonic()
    assert caller.get(path, headers={"Prefer": LONG}).json["status"] == "queued"
    assert time.monotonic() - started < SOON_S


def test_a_wait_goes_on_when_the_database_fails_for_a_moment(
    caller: Caller, services: Services, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = caller.job()["id"]
    looked, real = threading.Event(), services.jobs.final_among

    def failing(_: Any) -> set[str]:
        looked.set()
        raise RuntimeError("nobody foresaw it")

    monkeypatch.setattr(type(services.jobs), "final_among", staticmethod(failing))
    answer = waiting(pool, caller, f"/v1/jobs/{job_id}")
    assert looked.wait(SOON_S)
    monkeypatch.undo()
    assert services.jobs.final_among == real
    finish(services)
    assert answer.result(SOON_S).json["status"] == "succeeded"


@pytest.mark.parametrize(
    "prefer",
    [
        "", "wait", "wait=", "wait=soon", "wait=-5", "wait=1.5", "wait=5s", "waiting=5", "await=5",
        "wait:5", "respond-async", "handling=lenient", "x=\"wait=5\"", "wait=\u0665", "w\u00fcit=5",
    ],
)  # fmt: skip
def test_a_preference_is_ignored_when_it_is_malformed_or_another(
    anybody: Caller, prefer: str
) -> None:
    job_id = anybody.job()["id"]
    started = time.monotonic()
    answer = anybody.get(
        f"/v1/jobs/{job_id}", headers={"Prefer": prefer.encode().decode("latin-1")}
    )
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers
    assert time.monotonic() - started < SOON_S


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=0", "wait=0"),
        ("WAIT=7", "wait=7"),
        ("wait = 7", "wait=7"),
        ('wait="7"', "wait=7"),
        ("respond-async, wait=7", "wait=7"),
        ("wait=7, respond-async", "wait=7"),
        ("wait=7; x=y", "wait=7"),
        ("wait=61", "wait=60"),
        ("wait=" + "9" * 400, "wait=60"),
    ],
)
def test_a_preference_is_applied_when_it_asks_to_wait(
    caller: Caller, services: Services, prefer: str, applied: str
) -> None:
    job_id = caller.job()["id"]
    finish(services)
    answer = caller.get(f"/v1/jobs/{job_id}", headers={"Prefer": prefer})
    assert answer.headers["Preference-Applied"] == applied


def test_a_wait_changes_nothing_when_the_submission_is_refused(caller: Caller) -> None:
    answer = caller.post("/v1/jobs", json=caller.body(timeout_s=0), headers={"Prefer": LONG})
    assert is_problem(answer, 422, "out_of_range")


def test_a_wait_holds_no_connection_when_it_waits(
    app: Flask, caller: Caller, services: Services, pool: ThreadPoolExecutor
) -> None:
    job_id = caller.job()["id"]
    answers = [waiting(pool, caller, f"/v1/jobs/{job_id}") for _ in range(6)]
    until(lambda: services.database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
    finish(services)
    assert all(answer.result(SOON_S).status_code == 200 for answer in answers)

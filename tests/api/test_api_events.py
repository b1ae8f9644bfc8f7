"""`GET /v1/jobs/{id}/events`: everything that happened, in order, once, however often resumed."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest

import api.live
from api.openapi import EVENTS
from shared.errors import EngineFailed
from tests.api.calling import NOBODY, Caller, is_problem, local
from tests.api.streaming import (
    Stream,
    Told,
    ask,
    claim,
    finish,
    in_short,
    open_streams,
    told,
)
from tests.factories import a_picture, a_result, let_pass

if TYPE_CHECKING:
    from shared.services import Services


def test_a_stream_tells_everything_as_it_happens_and_ends_with_the_job(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    stream = Stream(caller, job_id).wait_for("queued")
    job = claim(services)
    stream.wait_for("queued", "running")
    services.leases.heartbeat(job, 3, 8)
    stream.wait_for("queued", "running", "3/8")
    services.leases.heartbeat(job, 5, 8)
    stream.wait_for("queued", "running", "3/8", "5/8")
    finish(services, job, "0.png", "1.png")
    events = stream.wait_for_end()
    assert in_short(events) == ["queued", "running", "3/8", "5/8", "#0", "#1", "succeeded"]
    assert events[0] == Told("retry", api.live.RETRY_MS)
    ids = [event.id for event in events[1:]]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert {event.data["job"] for event in events[1:]} == {job_id}
    assert open_streams(caller) == 0


def test_a_stream_has_the_headers_that_keep_it_from_being_held_back(
    caller: Caller,
) -> None:
    job_id = caller.job()["id"]
    for _ in range(2):  # once live, once after the end
        with closing(ask(caller, job_id)) as answer:
            assert answer.content_type == "text/event-stream"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Accel-Buffering"] == "no"
        caller.post(f"/v1/jobs/{job_id}/cancel")


def test_an_event_says_what_a_client_needs(caller: Caller, services: Services) -> None:
    job_id = caller.job()["id"]
    job, picture = claim(services), a_picture()
    result = a_result(job)
    services.objects.put(result["candidates"][0]["key"], picture)
    result["candidates"][0]["sha256"] = hashlib.sha256(picture).hexdigest()
    services.leases.succeed(job, result)
    queued, running, candidate, succeeded = told(caller, job_id)
    shown = caller.get(f"/v1/jobs/{job_id}").json
    assert _apart_s(queued.data["at"], shown["created_at"]) < 1
    assert _apart_s(running.data["at"], shown["started_at"]) < 1
    assert (queued.data["attempt"], running.data["attempt"]) == (0, 1)
    assert succeeded.data == {
        "job": job_id, "attempt": 1, "status": "succeeded", "error": None,
        "at": succeeded.data["at"],
    }  # fmt: skip
    (in_job,) = shown["result"]["candidates"]
    assert candidate.data.keys() == {"job", "attempt", *in_job}
    assert candidate.data["sha256"] == in_job["sha256"]
    assert caller.client.get(local(candidate.data["url"])).data == picture


def test_a_candidate_has_no_url_when_its_picture_is_past_its_retention(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    finish(services, claim(services))
    let_pass(services.database, 31 * 86_400)
    (due,) = services.upkeep.results_past_retention()
    services.upkeep.say_that_pictures_are_gone(due)
    *_, candidate, succeeded = told(caller, job_id)
    assert (candidate.type, candidate.data["url"]) == ("candidate", None)
    assert succeeded.data["status"] == "succeeded"


def _apart_s(one: str, other: str) -> float:
    return abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)).total_seconds()


def test_an_event_fits_its_schema_when_it_is_told(caller: Caller, services: Services) -> None:
    schemas = caller.client.get("/openapi.json").json["components"]["schemas"]  # type: ignore[index]
    job_id = caller.job()["id"]
    stream = Stream(caller, job_id).wait_for("queued")
    job = claim(services)
    services.leases.heartbeat(job, 1, 8)
    stream.wait_for("queued", "running", "1/8")
    finish(services, job)
    events = [event for event in stream.wait_for_end() if event.id]
    assert {event.type for event in events} == EVENTS.keys()
    for event in events:
        whole = {"$ref": f"#/components/schemas/{EVENTS[event.type]}"}
        jsonschema_rs.validate({**whole, "components": {"schemas": schemas}}, event.data)


@pytest.mark.parametrize("end", ["failed", "canceled", "expired"])
def test_a_stream_ends_when_the_job_does_whatever_its_end(
    caller: Caller, services: Services, end: str
) -> None:
    job_id = caller.job(expires_in_s=60)["id"]
    stream = Stream(caller, job_id).wait_for("queued")
    if end == "failed":
        services.leases.fail(claim(services), EngineFailed("It broke."))
    elif end == "canceled":
        caller.post(f"/v1/jobs/{job_id}/cancel")
    else:
        let_pass(services.database, 61)
        services.upkeep.expire_waiting()
    last = stream.wait_for_end()[-1]
    assert last.data["status"] == end
    error = {"code": "engine_failed", "message": "It broke.", "retryable": False}
    assert last.data["error"] == (error if end == "failed" else None)
    assert open_streams(caller) == 0


def test_a_client_sees_everything_once_when_it_comes_back_after_each_event(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    job = claim(services)
    services.leases.heartbeat(job, 3, 8)
    live = [Stream(caller, job_id).wait_for("queued", "running", "3/8")]
    services.leases.give_back(job)
    job = claim(services)
    finish(services, job, "0.png", "1.png")
    whole = told(caller, job_id)
    assert in_short(whole) == [
        "queued", "running", "queued", "running", "#0", "#1", "succeeded",
    ]  # fmt: skip
    for number, event in enumerate(whole[:-1]):
        rest = told(caller, job_id, event.id)
        assert _without_urls(rest) == _without_urls(whole[number + 1 :])
    progress = live[0].events[3]
    assert progress.type == "progress"
    assert in_short(told(caller, job_id, progress.id)) == in_short(whole[2:])


def _without_urls(events: list[Told]) -> list[Told]:
    """They are signed anew each time."""
    kept = [{name: part for name, part in e.data.items() if name != "url"} for e in events]
    return [replace(event, data=data) for event, data in zip(events, kept, strict=True)]


def test_a_client_goes_on_after_its_last_step_when_it_comes_back_while_the_job_runs(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    job = claim(services)
    services.leases.heartbeat(job, 3, 8)
    first = Stream(caller, job_id).wait_for("queued", "running", "3/8")
    seen = first.events[-1].id
    again = Stream(caller, job_id, seen)
    services.leases.heartbeat(job, 3, 8)
    services.leases.heartbeat(job, 6, 8)
    again.wait_for("6/8")
    services.leases.give_back(job)
    services.leases.heartbeat(claim(services), 1, 8)
    again.wait_for("6/8", "queued", "running", "1/8")
    services.jobs.cancel(caller.account_id, job_id)
    assert not again.has_ended, "a running job is only asked to stop"


def test_there_is_nothing_to_come_back_for_when_the_last_event_was_seen(caller: Caller) -> None:
    job_id = caller.job()["id"]
    caller.post(f"/v1/jobs/{job_id}/cancel")
    last = told(caller, job_id)[-1]
    answer = ask(caller, job_id, last.id)
    assert (answer.status_code, answer.data) == (204, b"")


@pytest.mark.parametrize("last", ["", "x", "1", "1.", "-1.0", "0.0", "1.5.2", "9" * 40 + ".0",
                                  "999999.0", "\u0661.0", "1.0 "])  # fmt: skip
def test_everything_is_told_when_the_last_id_is_none_of_this_jobs(
    caller: Caller, last: str
) -> None:
    other = caller.job()["id"]
    job_id = caller.job()["id"]
    for each in (other, job_id):
        caller.post(f"/v1/jobs/{each}/cancel")
    foreign = told(caller, other)[-1].id
    for given in (last.encode().decode("latin-1"), foreign):
        assert in_short(told(caller, job_id, given)) == ["queued", "canceled"]


def test_a_job_is_not_found_when_it_is_somebody_elses_or_nobodys(
    caller: Caller, stranger: Caller
) -> None:
    job_id = caller.job()["id"]
    assert is_problem(ask(stranger, job_id), 404, "not_found")
    assert is_problem(ask(caller, f"job_{NOBODY}"), 404, "not_found")
    assert is_problem(caller.client.get(f"/v1/jobs/{job_id}/events"), 401, "unauthorized")
    assert open_streams(caller) == 0

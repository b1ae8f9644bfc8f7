"""`GET /v1/jobs/{id}/events`: everything that happened, in order, once, however often resumed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import jsonschema_rs
import pytest

import api.live
from api.context import EXTENSION
from api.openapi import EVENTS
from shared.errors import EngineFailed
from tests.api.calling import NOBODY, Caller, caller_of, is_problem, local, until
from tests.api.streaming import Told, in_short, read_events
from tests.factories import a_picture, a_result, let_pass

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from shared.jobs.job import Job
    from shared.services import Services


def ask(caller: Caller, job_id: str, last: str | None = None) -> TestResponse:
    headers = {} if last is None else {"Last-Event-ID": last}
    client = caller.client.application.test_client()
    return Caller(client, caller.key, "").get(f"/v1/jobs/{job_id}/events", headers=headers)


@pytest.fixture(autouse=True)
def end_streams() -> Iterator[None]:
    """No stream outlives its test, nor the thread that looks for it its database."""
    yield
    for stream in Stream.opened:
        stream.notifier.close()
    for stream in Stream.opened:
        stream.wait_for_end()
    Stream.opened.clear()


class Stream:
    """An open stream, read in a thread of its own."""

    opened: ClassVar[list[Stream]] = []

    def __init__(self, caller: Caller, job_id: str, last: str | None = None) -> None:
        self.notifier = caller.client.application.extensions[EXTENSION].notifier
        self.events: list[Told] = []
        self.answer = ask(caller, job_id, last)
        assert self.answer.status_code == 200, self.answer.text
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.opened.append(self)

    def _read(self) -> None:
        chunks: Any = self.answer.response
        for event in read_events(chunks):
            self.events.append(event)
        self.answer.close()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def wait_for(self, *words: str) -> Stream:
        until(lambda: in_short(self.events) == list(words), 10)
        return self

    def wait_for_end(self) -> list[Told]:
        self._thread.join(10)
        assert self.has_ended
        return self.events


def claim(services: Services) -> Job:
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    return job


def finish(services: Services, job: Job, *names: str) -> None:
    assert services.leases.succeed(job, a_result(job, *names))


def open_streams(caller: Caller) -> int:
    return len(caller.client.application.extensions[EXTENSION].feeds._followers)


def told(caller: Caller, job_id: str, last: str | None = None) -> list[Told]:
    """The events of a stream that ends by itself."""
    return list(read_events(ask(caller, job_id, last).response))  # type: ignore[arg-type]


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


def test_a_stream_ends_when_the_job_is_deleted_meanwhile(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = caller.job()["id"]
    stream = Stream(caller, job_id).wait_for("queued")
    with monkeypatch.context() as patch:  # between two looks
        patch.setattr(type(services.histories), "changed", lambda *_: {})
        caller.post(f"/v1/jobs/{job_id}/cancel")
        caller.delete(f"/v1/jobs/{job_id}")
    assert in_short(stream.wait_for_end()) == ["queued"]
    assert is_problem(ask(caller, job_id, stream.events[-1].id), 404, "not_found")


def test_a_stream_beats_while_nothing_happens(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.live, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(api.live, "CHECK_S", 0.05)
    stream = Stream(caller, caller.job()["id"])
    until(lambda: len([event for event in stream.events if event.type == ":"]) >= 3)
    finish(services, claim(services))
    assert in_short(stream.wait_for_end())[-1] == "succeeded"


def test_a_stream_goes_on_when_the_database_fails_for_a_moment(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.live, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(api.live, "CHECK_S", 0.05)
    stream = Stream(caller, caller.job()["id"]).wait_for("queued")
    failed = threading.Event()

    def fail(*_: Any) -> Any:
        failed.set()
        raise RuntimeError("nobody foresaw it")

    with monkeypatch.context() as patch:
        patch.setattr(type(services.histories), "changed", fail)
        assert failed.wait(5)
        job = claim(services)
        beats = len(stream.events)
        until(lambda: len(stream.events) > beats + 2)
    stream.wait_for("queued", "running")
    finish(services, job)
    assert in_short(stream.wait_for_end()) == ["queued", "running", "#0", "succeeded"]


def test_a_stream_ends_when_its_hour_is_over_and_goes_on_when_it_is_taken_up(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.live, "LONGEST_S", 0.2)
    monkeypatch.setattr(api.live, "CHECK_S", 0.05)
    job_id = caller.job()["id"]
    events = Stream(caller, job_id).wait_for_end()
    assert in_short(events) == ["queued"]
    monkeypatch.undo()
    again = Stream(caller, job_id, events[-1].id)
    claim(services)
    again.wait_for("running")


def test_a_stream_ends_when_the_process_is_told_to_end(caller: Caller) -> None:
    job_id = caller.job()["id"]
    stream = Stream(caller, job_id).wait_for("queued")
    caller.client.application.extensions[EXTENSION].notifier.close()
    assert in_short(stream.wait_for_end()) == ["queued"]
    assert is_problem(ask(caller, job_id), 503, "too_many_streams")


def test_a_seat_is_free_again_when_nobody_read_the_answer(caller: Caller) -> None:
    job_id = caller.job()["id"]
    answer = ask(caller, job_id)
    assert open_streams(caller) == 1
    answer.close()
    assert open_streams(caller) == 0
    caller.call("HEAD", f"/v1/jobs/{job_id}/events").close()
    assert open_streams(caller) == 0


def test_a_stream_is_refused_when_too_many_are_open(build: Callable[..., Services]) -> None:
    caller = caller_of(build(max_streams=2))
    job_id, ended = caller.job()["id"], caller.job()["id"]
    caller.post(f"/v1/jobs/{ended}/cancel")
    streams = [Stream(caller, job_id).wait_for("queued") for _ in range(2)]
    answer = ask(caller, job_id)
    assert is_problem(answer, 503, "too_many_streams")
    assert int(answer.headers["Retry-After"]) >= 1
    assert in_short(told(caller, ended)) == ["queued", "canceled"], "this holds no thread"
    caller.post(f"/v1/jobs/{job_id}/cancel")
    for stream in streams:
        assert in_short(stream.wait_for_end()) == ["queued", "canceled"]
    assert open_streams(caller) == 0


def test_an_account_with_most_streams_makes_room_when_another_has_fewer(
    build: Callable[..., Services],
) -> None:
    services = build(max_streams=4)
    greedy = caller_of(services)
    app = greedy.client.application
    key = services.accounts.create_key("modest").text
    modest = Caller(app.test_client(), key, services.accounts.account_of(key) or "")
    many, few = greedy.job()["id"], modest.job()["id"]
    held = [Stream(greedy, many).wait_for("queued") for _ in range(4)]
    first, second = (Stream(modest, few).wait_for("queued") for _ in range(2))
    assert in_short(held[0].wait_for_end()) == in_short(held[1].wait_for_end()) == ["queued"]
    assert not held[2].has_ended
    assert not held[3].has_ended
    for caller, job_id in ((greedy, many), (modest, few)):
        assert is_problem(ask(caller, job_id), 503, "too_many_streams")
    assert not first.has_ended
    assert not second.has_ended


def test_streams_hold_no_connection_while_nothing_happens(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    streams = [Stream(caller, job_id).wait_for("queued") for _ in range(30)]
    until(lambda: services.database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
    finish(services, claim(services))
    for stream in streams:
        assert in_short(stream.wait_for_end())[-1] == "succeeded"


def test_a_slow_reader_holds_up_nobody_else(caller: Caller, services: Services) -> None:
    job_id = caller.job()["id"]
    stuck = ask(caller, job_id)
    assert next(iter(stuck.response)) == b"retry: 2000\n\n"  # type: ignore[arg-type]
    stream = Stream(caller, job_id).wait_for("queued")
    finish(services, claim(services))
    assert in_short(stream.wait_for_end()) == ["queued", "running", "#0", "succeeded"]
    assert in_short(read_events(stuck.response)) == in_short(stream.events)  # type: ignore[arg-type]
    stuck.close()


def test_one_look_serves_all_when_many_follow(caller: Caller, services: Services) -> None:
    """However many streams there are: one look, at each job once."""
    job_ids = [caller.job()["id"] for _ in range(5)]
    for job_id in job_ids:
        for _ in range(4):
            Stream(caller, job_id).wait_for("queued")
    looked: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(services.histories), "changed", lambda self, known: looked.append(len(known)) or {}
        )
        began = time.monotonic()
        until(lambda: len(looked) >= 5)
        assert time.monotonic() - began > 0.1
    assert set(looked) == {5}

"""Open event streams: how they end, how many there may be, and what they must not hold up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import api.live
from api.context import EXTENSION
from tests.api.calling import Caller, caller_of, is_problem, until
from tests.api.streaming import (
    Stream,
    ask,
    claim,
    finish,
    in_short,
    open_streams,
    read_events,
    told,
)

if TYPE_CHECKING:
    from shared.services import Services


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

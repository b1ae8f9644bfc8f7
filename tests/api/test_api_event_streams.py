"""Open event streams: how they end, how many there may be, and what they must not hold up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

import api.feeds
import api.live
from api.context import EXTENSION
from shared.accounts.tables import accounts, api_keys
from shared.db import now_ms
from shared.errors import DatabaseUnavailable
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


def _revoke(services: Services, key_id: str) -> None:
    services.accounts.revoke_key(key_id)


def _expire(services: Services, key_id: str) -> None:
    with services.database.writing() as connection:
        this = update(api_keys).where(api_keys.c.id == key_id)
        connection.execute(this.values(expires_at=now_ms()))


def _rotate(services: Services, key_id: str) -> None:
    services.accounts.rotate_key(key_id, overlap_s=0)


def _begin_to_delete(services: Services, _: str) -> None:
    with services.database.writing() as connection:
        connection.execute(
            update(accounts).where(accounts.c.name == "caller 1").values(deleting_at=now_ms())
        )


@pytest.mark.parametrize("end", [_revoke, _expire, _rotate, _begin_to_delete])
def test_a_stream_ends_and_those_of_other_keys_go_on_when_its_key_opens_nothing_any_more(
    caller: Caller,
    stranger: Caller,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Services, str], None],
) -> None:
    monkeypatch.setattr(api.feeds, "KEYS_S", 0.05)
    job_id = caller.job()["id"]
    other = Stream(stranger, stranger.job()["id"]).wait_for("queued")
    streams = [Stream(caller, job_id).wait_for("queued") for _ in range(3)]
    end(services, caller.key.split("_")[1])
    for stream in streams:
        assert in_short(stream.wait_for_end()) == ["queued"]
    assert is_problem(ask(caller, job_id, streams[0].events[-1].id), 401, "unauthorized")
    stranger.post(f"/v1/jobs/{other.events[-1].data['job']}/cancel")
    assert in_short(other.wait_for_end()) == ["queued", "canceled"]


def test_a_stream_tells_nothing_that_happened_when_its_key_opened_nothing_any_more(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are seen by one look."""
    stream = Stream(caller, caller.job()["id"]).wait_for("queued")
    known, key_id = type(services.accounts).usable_among, caller.key.split("_")[1]

    def at_the_last_moment(self: Any, key_ids: set[str]) -> set[str]:
        services.accounts.revoke_key(key_id)
        services.leases.claim_next("warp", "worker")
        return known(self, key_ids)

    monkeypatch.setattr(type(services.accounts), "usable_among", at_the_last_moment)
    monkeypatch.setattr(api.feeds, "KEYS_S", 0.0)
    assert in_short(stream.wait_for_end()) == ["queued"]


def test_keys_are_asked_for_again_in_one_query_when_many_follow_and_streams_stay_if_nobody_knows(
    caller: Caller, stranger: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.feeds, "KEYS_S", 0.1)
    streams = [
        Stream(whose, whose.job()["id"]).wait_for("queued")
        for whose in (caller, stranger)
        for _ in range(5)
    ]
    asked: list[tuple[float, int]] = []

    def ask_and_fail(_: object, key_ids: set[str]) -> set[str]:
        asked.append((time.monotonic(), len(key_ids)))
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(type(services.accounts), "usable_among", ask_and_fail)
        until(lambda: len(asked) >= 2)
    assert {count for _, count in asked} == {2}
    usable: list[float] = []
    known = type(services.accounts).usable_among

    def ask_and_count(self: Any, key_ids: set[str]) -> set[str]:
        usable.append(time.monotonic())
        return known(self, key_ids)

    with monkeypatch.context() as patch:
        patch.setattr(type(services.accounts), "usable_among", ask_and_count)
        until(lambda: len(usable) >= 4)
    assert min(later - before for before, later in pairwise(usable)) >= 0.1
    assert not any(stream.has_ended for stream in streams)


def test_keys_are_looked_at_more_often_than_a_stream_beats() -> None:
    assert api.feeds.KEYS_S < api.live.HEARTBEAT_S


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

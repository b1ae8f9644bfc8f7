"""Submissions over HTTP that an earlier result answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.calling import Caller, is_problem, local
from tests.api.streaming import in_short, told
from tests.factories import a_picture
from tests.kept import PICTURE_BYTES, come_up, run_next

if TYPE_CHECKING:
    from shared.services import Services

SEED = {"seed": 7}


@pytest.fixture
def first(caller: Caller, services: Services) -> dict[str, Any]:
    """A job that ran to its end."""
    come_up(services)
    job = caller.job(options=SEED)
    assert run_next(services) is not None
    return caller.get(f"/v1/jobs/{job['id']}").json  # type: ignore[return-value]


def test_it_is_answered_at_once_with_the_earlier_pictures(
    caller: Caller, first: dict[str, Any]
) -> None:
    answer = caller.submit(options=SEED)
    job = answer.json
    assert job is not None
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    assert job == caller.get(f"/v1/jobs/{job['id']}").json
    assert job["id"] != first["id"]
    assert list(job) == list(first)
    assert (job["status"], job["attempt"], job["started_at"]) == ("succeeded", 0, None)
    assert (job["queue"], job["error"], job["retried_from"]) == (None, None, None)
    assert job["finished_at"] == job["created_at"]
    assert job["progress"] == first["progress"]
    assert job["request"] == first["request"]
    result, before = job["result"], first["result"]
    assert (result["cached"], before["cached"]) == (True, False)
    assert list(result["timings"].values()) == [0.0] * 5
    assert result["expires_at"] >= before["expires_at"]
    for pictures in (result["candidates"], before["candidates"]):
        for picture in pictures:
            data = caller.client.get(local(picture.pop("url"))).data
            assert len(data) == PICTURE_BYTES
    assert result["candidates"] == before["candidates"]
    assert len(caller.client.get(local(result["mask_url"])).data) == PICTURE_BYTES


def test_it_is_200_when_the_caller_would_have_waited(caller: Caller, first: dict[str, Any]) -> None:
    body = caller.body(options=SEED)
    answer = caller.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=60")
    assert answer.json["status"] == "succeeded"  # type: ignore[index]


def test_its_events_end_at_once_with_its_state(caller: Caller, first: dict[str, Any]) -> None:
    job = caller.job(options=SEED)
    events = told(caller, job["id"])
    assert in_short(events) == ["#0", "succeeded"]
    assert {event.data["attempt"] for event in events} == {0}
    assert len(caller.client.get(local(events[0].data["url"])).data) == PICTURE_BYTES


def test_another_account_with_the_same_bytes_is_not_answered(
    caller: Caller, stranger: Caller, first: dict[str, Any]
) -> None:
    job = stranger.job(options=SEED)
    assert (job["status"], job["result"]) == ("queued", None)
    mine = caller.job(options=SEED)
    assert is_problem(stranger.get(f"/v1/jobs/{mine['id']}"), 404, "not_found")


@pytest.mark.parametrize("options", [{}, {"seed": None}, {"seed": 7, "cache": False}], ids=str)
def test_it_is_run_when_no_seed_was_given_or_it_is_turned_off(
    caller: Caller, first: dict[str, Any], options: dict[str, Any]
) -> None:
    assert caller.job(options=options)["status"] == "queued"


def test_the_seed_that_was_drawn_is_answered_when_it_is_given(
    caller: Caller, services: Services
) -> None:
    come_up(services)
    drawn = caller.job()["request"]["options"]["seed"]
    assert run_next(services) is not None
    assert caller.job(options={"seed": drawn})["result"]["cached"]


def test_a_retry_runs_whatever_is_kept(caller: Caller, first: dict[str, Any]) -> None:
    answered = caller.job(options=SEED)
    for job in (first, answered):
        retried = caller.post(f"/v1/jobs/{job['id']}/retry").json
        assert retried is not None
        assert (retried["status"], retried["retried_from"]) == ("queued", job["id"])


def test_one_key_makes_one_job(caller: Caller, first: dict[str, Any]) -> None:
    body = caller.body(options=SEED)
    answers = [
        caller.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        for key in ("one", "one", "two")
    ]
    ids = [answer.json["id"] for answer in answers]  # type: ignore[index]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert "Idempotency-Replayed" in answers[1].headers
    assert ids[0] == ids[1] != ids[2]
    assert all(answer.json["result"]["cached"] for answer in answers)  # type: ignore[index]


def test_a_validation_says_that_nothing_would_run(caller: Caller, first: dict[str, Any]) -> None:
    assert caller.validate(options=SEED)["estimate"] == {"queue_s": 0.0, "run_s": 0.0}
    for other in ({"options": {"seed": 8}}, {"options": SEED, "drags": []}):
        assert caller.validate(**other)["estimate"]["run_s"] > 0


def test_a_cancel_leaves_it_as_it_is(caller: Caller, first: dict[str, Any]) -> None:
    job = caller.job(options=SEED)
    assert caller.post(f"/v1/jobs/{job['id']}/cancel").json["status"] == "succeeded"  # type: ignore[index]


def test_its_image_may_be_deleted_and_the_pictures_stay(
    caller: Caller, first: dict[str, Any]
) -> None:
    job = caller.job(options=SEED)
    assert caller.delete(f"/v1/images/{job['request']['image']}").status_code == 200
    body = {**caller.body(image=job["request"]["image"]), "options": SEED}
    assert caller.post("/v1/jobs", json=body).status_code == 422
    again = caller.image(a_picture())  # the same bytes
    assert again != job["request"]["image"]
    assert caller.job(image=again, options=SEED)["result"]["cached"]


def test_the_pictures_go_with_the_last_job_that_shows_them(
    caller: Caller, first: dict[str, Any]
) -> None:
    second = caller.job(options=SEED)
    usage = caller.get("/v1/account").json["usage"]  # type: ignore[index]
    urls = [job["result"]["candidates"][0]["url"] for job in (first, second)]
    answers = []
    for job in (first, second):
        assert all(caller.client.get(local(url)).status_code == 200 for url in urls)
        assert caller.get("/v1/account").json["usage"] == usage  # type: ignore[index]
        answers.append(caller.delete(f"/v1/jobs/{job['id']}").json)
    assert [answer["removed"]["objects"] for answer in answers] == [0, 2]
    assert [answer["removed"]["bytes"] for answer in answers] == [0, 2 * PICTURE_BYTES]
    assert all(caller.client.get(local(url)).status_code == 404 for url in urls)
    after = caller.get("/v1/account").json["usage"]  # type: ignore[index]
    assert after["stored_bytes"] == usage["stored_bytes"] - 2 * PICTURE_BYTES

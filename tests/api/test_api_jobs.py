"""Jobs over HTTP: their shape, their lists, and what their owner may do with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from shared.errors import DragNotReachable
from shared.jobs.tables import jobs
from tests.api.calling import NOBODY, Caller, caller_of, is_problem, local, said, white
from tests.factories import a_result, let_pass, row_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.jobs.job import Job
    from shared.services import Services

KEYS = [
    "id", "status", "created_at", "started_at", "finished_at", "expires_at", "attempt", "progress",
    "queue", "request", "result", "error", "batch", "retried_from", "metadata",
]  # fmt: skip


def claimed(services: Services) -> Job:
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    return job


def succeed(services: Services, **result: Any) -> Job:
    """The next job is done, with one picture."""
    job = claimed(services)
    made = a_result(job) | result
    for candidate in made["candidates"]:
        services.objects.put(candidate["key"], b"\x89PNG picture")
    if made["mask_key"]:
        services.objects.put(made["mask_key"], b"\x89PNG mask")
    assert services.leases.succeed(job, made)
    return job


def test_a_job_is_queued_and_has_its_address_when_it_was_accepted(caller: Caller) -> None:
    answer = caller.submit(metadata={"order": "1234"})
    job = answer.json
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert list(job) == KEYS
    assert job | {"request": None, "created_at": None} == {
        "id": job["id"], "status": "queued", "created_at": None, "started_at": None,
        "finished_at": None, "expires_at": None, "attempt": 0,
        "progress": {"step": 0, "steps": None}, "queue": {"position": 0, "eta_s": None},
        "request": None, "result": None, "error": None, "batch": None, "retried_from": None,
        "metadata": {"order": "1234"},
    }  # fmt: skip
    assert caller.get(answer.headers["Location"]).json == job


def test_a_job_tells_its_place_and_time_when_others_are_before_it(
    caller: Caller, services: Services
) -> None:
    services.engines_up.seen("worker", "warp", "warp-1", threads=2)
    first, second = caller.job(), caller.job()
    urgent = caller.job(priority="high")
    places = {
        job["id"]: caller.get(f"/v1/jobs/{job['id']}").json["queue"]
        for job in (urgent, first, second)
    }
    assert [place["position"] for place in places.values()] == [0, 1, 2]
    etas = [place["eta_s"] for place in places.values()]
    assert etas == sorted(etas)
    assert all(eta > 0 for eta in etas)


def test_a_job_shows_its_progress_when_it_runs(caller: Caller, services: Services) -> None:
    job_id = caller.job()["id"]
    services.leases.heartbeat(claimed(services), 3, 8)
    job = caller.get(f"/v1/jobs/{job_id}").json
    assert (job["status"], job["attempt"]) == ("running", 1)
    assert (job["progress"], job["queue"]) == ({"step": 3, "steps": 8}, None)
    assert job["started_at"] >= job["created_at"]


def test_a_job_shows_its_result_when_it_succeeded(caller: Caller, services: Services) -> None:
    job_id = caller.job()["id"]
    succeed(services, mask_key="results/x/y/1/mask.png", warnings=[{"code": "c", "detail": "d"}])
    answer = caller.get(f"/v1/jobs/{job_id}")
    job = answer.json
    assert list(job) == KEYS
    assert job["status"] == "succeeded"
    result = job["result"]
    assert set(result) == {
        "candidates", "engine", "model_digest", "cached", "warnings", "mask_url", "expires_at",
        "timings",
    }  # fmt: skip
    (candidate,) = result["candidates"]
    assert set(candidate) == {"index", "seed", "url", "sha256", "width", "height"}
    assert set(result["timings"]) == {"queued_ms", "fetch_ms", "run_ms", "store_ms", "total_ms"}
    assert caller.client.get(local(candidate["url"])).data == b"\x89PNG picture"
    assert caller.client.get(local(result["mask_url"])).data == b"\x89PNG mask"
    assert datetime.fromisoformat(result["expires_at"]) > datetime.fromisoformat(job["created_at"])
    assert "results/" not in answer.text.replace("/objects/results/", ""), (
        "keys are nobody's matter"
    )


def test_a_job_has_no_url_when_its_pictures_are_past_their_retention(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    succeed(services, mask_key="results/x/y/1/mask.png")
    let_pass(services.database, 30 * 86_400 + 1)
    (due,) = services.upkeep.results_past_retention()
    services.upkeep.say_that_pictures_are_gone(due)
    result = caller.get(f"/v1/jobs/{job_id}").json["result"]
    assert (result["candidates"][0]["url"], result["mask_url"]) == (None, None)
    assert result["candidates"][0]["sha256"]
    assert datetime.fromisoformat(result["expires_at"]) < datetime.now(UTC)


def test_a_job_shows_its_error_when_it_failed(caller: Caller, services: Services) -> None:
    job_id = caller.job()["id"]
    services.leases.fail(claimed(services), DragNotReachable("The way is too narrow."))
    job = caller.get(f"/v1/jobs/{job_id}").json
    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"] == {
        "code": "drag_not_reachable", "message": "The way is too narrow.", "retryable": False,
    }  # fmt: skip
    assert job["finished_at"] >= job["started_at"]


@pytest.mark.parametrize("job_id", [f"job_{NOBODY}", "job_x", "x", f"img_{NOBODY}", "job_%00"])
def test_a_job_is_not_found_when_there_is_none(anybody: Caller, job_id: str) -> None:
    path = f"/v1/jobs/{job_id}"
    for method, url in (
        ("GET", path), ("DELETE", path), ("POST", f"{path}/cancel"), ("POST", f"{path}/retry"),
    ):  # fmt: skip
        assert is_problem(anybody.call(method, url), 404, "not_found")


def test_a_queued_job_is_canceled_at_once_when_its_owner_asks_however_often(
    caller: Caller,
) -> None:
    path = f"/v1/jobs/{caller.job()['id']}"
    answers = [caller.post(f"{path}/cancel") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json["status"] == "canceled"
    assert answers[0].json == answers[1].json == answers[2].json == caller.get(path).json
    assert answers[0].json["queue"] is None
    assert answers[0].json["finished_at"] is not None


def test_a_running_job_is_asked_to_stop_when_its_owner_cancels(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    job = claimed(services)
    for _ in range(2):
        answer = caller.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json["status"]) == (200, "running")
    assert services.leases.heartbeat(job, 1, 8).is_cancel_requested
    services.leases.cancel(job)
    assert caller.get(f"/v1/jobs/{job_id}").json["status"] == "canceled"


def test_a_job_stays_as_it_is_when_it_is_canceled_after_it_ended(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    succeed(services)
    before = row_of(services.database, job_id)
    assert caller.post(f"/v1/jobs/{job_id}/cancel").json["status"] == "succeeded"
    assert row_of(services.database, job_id) == before


def test_a_job_is_gone_with_its_pictures_when_it_was_deleted(
    caller: Caller, services: Services
) -> None:
    job_id = caller.job()["id"]
    path = f"/v1/jobs/{job_id}"
    succeed(services)
    url = local(caller.get(path).json["result"]["candidates"][0]["url"])
    answer = caller.delete(path)
    assert (answer.status_code, answer.json["deleted"]) == (200, True)
    assert is_problem(caller.get(path), 404, "not_found")
    assert is_problem(caller.delete(path), 404, "not_found")
    assert is_problem(caller.client.get(url), 404, "not_found")
    assert not any(services.settings.objects_folder.glob("results/**/*.png"))


@pytest.mark.parametrize("is_running", [False, True], ids=["queued", "running"])
def test_a_job_is_neither_deleted_nor_retried_when_it_has_not_ended(
    caller: Caller, services: Services, is_running: bool
) -> None:
    path = f"/v1/jobs/{caller.job()['id']}"
    if is_running:
        claimed(services)
    assert is_problem(caller.delete(path), 409, "job_not_final")
    assert is_problem(caller.post(f"{path}/retry"), 409, "job_not_final")
    assert caller.get(path).status_code == 200
    assert len(caller.get("/v1/jobs").json["data"]) == 1


def test_a_retry_is_a_new_job_when_the_old_one_ended(caller: Caller, services: Services) -> None:
    old = caller.job(metadata={"a": "b"}, options={"seed": 5}, timeout_s=9)
    caller.post(f"/v1/jobs/{old['id']}/cancel")
    answer = caller.post(f"/v1/jobs/{old['id']}/retry")
    new = answer.json
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{new['id']}"
    assert new["id"] != old["id"]
    assert (new["status"], new["attempt"], new["retried_from"]) == ("queued", 0, old["id"])
    assert (new["request"], new["metadata"]) == (old["request"], old["metadata"])
    assert caller.get(f"/v1/jobs/{old['id']}").json["status"] == "canceled"
    assert claimed(services).id == new["id"]


@pytest.mark.parametrize("role", ["image", "mask"])
def test_a_retry_is_refused_when_a_picture_is_gone(caller: Caller, role: str) -> None:
    needed = caller.image(white(64, 48))
    path = f"/v1/jobs/{caller.job(**{role: needed})['id']}"
    caller.post(f"{path}/cancel")
    assert caller.delete(f"/v1/images/{needed}").status_code == 200
    assert said(caller.post(f"{path}/retry")) == {(f"/{role}", "image_not_found")}


def test_a_list_is_empty_when_the_account_has_no_jobs(caller: Caller, stranger: Caller) -> None:
    stranger.job()
    assert caller.get("/v1/jobs").json == {"data": [], "next_cursor": None}


def test_a_list_has_whole_jobs_newest_first_when_there_are_some(caller: Caller) -> None:
    ids = [caller.job()["id"] for _ in range(3)]
    listed = caller.get("/v1/jobs").json
    assert [job["id"] for job in listed["data"]] == ids[::-1]
    assert listed["next_cursor"] is None
    for job in listed["data"]:
        assert job == caller.get(f"/v1/jobs/{job['id']}").json


def test_a_list_is_read_to_its_end_without_repeats_when_jobs_are_added_meanwhile(
    caller: Caller,
) -> None:
    body = caller.body()
    before = [caller.post("/v1/jobs", json=body).json["id"] for _ in range(8)]
    seen, cursor = [], ""
    while cursor is not None:
        page = caller.get(f"/v1/jobs?limit=3{cursor and f'&cursor={cursor}'}").json
        assert len(page["data"]) <= 3
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        caller.post("/v1/jobs", json=body)
    assert seen == before[::-1]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_list_has_no_next_page_when_the_last_one_is_just_full(caller: Caller, count: int) -> None:
    body = caller.body()
    for _ in range(count):
        caller.post("/v1/jobs", json=body)
    page = caller.get("/v1/jobs?limit=2").json
    assert (page["next_cursor"] is None) == (count <= 2)


def test_a_list_goes_on_when_the_job_of_its_cursor_was_deleted(caller: Caller) -> None:
    jobs = [caller.job()["id"] for _ in range(3)]
    cursor = caller.get("/v1/jobs?limit=2").json["next_cursor"]
    caller.post(f"/v1/jobs/{cursor}/cancel")
    caller.delete(f"/v1/jobs/{cursor}")
    page = caller.get(f"/v1/jobs?limit=2&cursor={cursor}").json
    assert [job["id"] for job in page["data"]] == jobs[:1]


def test_a_list_has_the_jobs_of_one_state_when_it_is_asked_for(
    caller: Caller, services: Services
) -> None:
    done, running, canceled, queued = (caller.job()["id"] for _ in range(4))
    succeed(services)
    claimed(services)
    caller.post(f"/v1/jobs/{canceled}/cancel")
    expected = {"succeeded": [done], "running": [running], "canceled": [canceled],
                "queued": [queued], "failed": [], "expired": []}  # fmt: skip
    for status, ids in expected.items():
        listed = caller.get(f"/v1/jobs?status={status}").json["data"]
        assert [job["id"] for job in listed] == ids, status


HOSTILE_KEYS = [
    "order", "a.b", "a b", "", "$", "$.order", "0", "[0]", "#", '"', 'a"b', '"."', "\\", "'", "%",
    "a\\", "a]b", "*", "ключ", "💥", "a'--", "metadata.", "a&b=c", "?", "\n", "$.*", 'x".y', "-1",
]  # fmt: skip


@pytest.mark.parametrize("key", [key for key in HOSTILE_KEYS if key])
def test_a_list_has_the_jobs_of_one_pair_when_its_key_is_hostile(caller: Caller, key: str) -> None:
    body = caller.body()
    for metadata in ({key: "1"}, {key: "2"}, {"other": "1"}, {}):
        assert caller.post("/v1/jobs", json=body | {"metadata": metadata}).status_code == 202
    answer = caller.get("/v1/jobs", query_string={f"metadata.{key}": "1"})
    assert answer.status_code == 200, answer.text
    assert [job["metadata"] for job in answer.json["data"]] == [{key: "1"}]


def test_a_list_is_of_those_that_match_all_when_several_filters_are_given(caller: Caller) -> None:
    body = caller.body()
    for metadata in ({"a": "1", "b": "2"}, {"a": "1"}, {"b": "2"}, {"a": "1", "b": ""}):
        caller.post("/v1/jobs", json=body | {"metadata": metadata})
    for query, found in (
        ("metadata.a=1", 3), ("metadata.a=1&metadata.b=2", 1), ("metadata.b=", 1),
        ("metadata.c=", 0), ("metadata.=1", 0), ("metadata.a=1&status=queued", 3),
        ("metadata.a=1&status=failed", 0), ("metadata.a=01", 0), ("metadata.A=1", 0),
    ):  # fmt: skip
        assert len(caller.get(f"/v1/jobs?{query}").json["data"]) == found, query


@pytest.mark.parametrize(
    ("query", "violation"),
    [
        ("limit=0", ("/limit", "out_of_range")),
        ("limit=201", ("/limit", "out_of_range")),
        ("limit=-1", ("/limit", "out_of_range")),
        ("limit=", ("/limit", "wrong_type")),
        ("limit=ten", ("/limit", "wrong_type")),
        ("limit=1.5", ("/limit", "wrong_type")),
        ("limit=" + "9" * 5000, ("/limit", "wrong_type")),
        ("limit=1&limit=2", ("/limit", "conflicting_fields")),
        ("cursor=", ("/cursor", "wrong_format")),
        ("cursor=x", ("/cursor", "wrong_format")),
        (f"cursor=img_{NOBODY}", ("/cursor", "wrong_format")),
        (f"cursor=job_{NOBODY}%0a", ("/cursor", "wrong_format")),
        ("cursor=" + "x" * 101, ("/cursor", "wrong_length")),
        ("status=done", ("/status", "out_of_range")),
        ("status=", ("/status", "out_of_range")),
        ("status=queued&status=failed", ("/status", "conflicting_fields")),
        ("metadata.a=1&metadata.a=2", ("/metadata.a", "conflicting_fields")),
        ("order=1", ("/order", "unknown_field")),
        ("metadata=1", ("/metadata", "unknown_field")),
        ("batch=bat_1", ("/batch", "wrong_format")),
        ("%00=1", ("/\0", "unknown_field")),
    ],
)
def test_a_list_is_refused_when_a_parameter_is_wrong(
    anybody: Caller, query: str, violation: tuple[str, str]
) -> None:
    assert said(anybody.get(f"/v1/jobs?{query}")) == {violation}


def test_a_list_names_every_parameter_when_several_are_wrong(caller: Caller) -> None:
    assert said(caller.get("/v1/jobs?limit=0&status=x&a=1&b=2&metadata.c=3")) == {
        ("/limit", "out_of_range"),
        ("/status", "out_of_range"),
        ("/a", "unknown_field"),
        ("/b", "unknown_field"),
    }


def test_a_retry_is_refused_when_the_engine_is_not_offered_any_more(
    caller: Caller, services: Services
) -> None:
    job = caller.job()
    caller.post(f"/v1/jobs/{job['id']}/cancel")
    with services.database.writing() as connection:
        spec = row_of(services.database, job["id"])["spec"] | {"engine": "retired"}
        connection.execute(jobs.update().values(spec=spec, engine="retired"))
    answer = caller.post(f"/v1/jobs/{job['id']}/retry")
    assert said(answer) == {("/engine", "engine_unavailable")}


def test_engines_tell_what_can_be_asked_for_when_no_worker_is_up(
    caller: Caller, services: Services
) -> None:
    (engine,) = caller.get("/v1/engines").json["data"]
    assert (engine["name"], engine["is_default"]) == ("warp", True)
    assert (engine["up"], engine["threads"], engine["model_digest"]) == (False, 0, None)
    options = engine["options"]
    assert options["seed"]["maximum"] == 2**53 - 1
    assert options["format"]["choices"] == ["png", "webp", "jpeg"]
    assert options["candidates"]["maximum"] == 1
    defaults = {name: option["default"] for name, option in options.items()}
    shown = caller.job(options={"seed": 1})["request"]["options"]
    assert shown == defaults | {"seed": 1}
    services.engines_up.seen("a", "warp", "warp-7", threads=2)
    services.engines_up.seen("b", "warp", "warp-7", threads=3)
    (engine,) = caller.get("/v1/engines").json["data"]
    assert (engine["up"], engine["threads"], engine["model_digest"]) == (True, 5, "warp-7")


def test_a_default_is_the_operators_when_one_was_set(build: Callable[..., Services]) -> None:
    caller = caller_of(build(default_priority="high"))
    assert caller.job()["request"]["priority"] == "high"
    assert caller.job(priority="low")["request"]["priority"] == "low"

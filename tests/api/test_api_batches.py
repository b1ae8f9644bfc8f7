"""Batches over HTTP: sent as lines or as JSON, looked at, canceled, retried, told line by line."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from api import batch_stream
from api.routes import batches as routes
from shared.errors import DatabaseUnavailable, EngineFailed
from shared.objects.keys import PREFIXES
from tests.api.calling import Caller, is_problem, local, said
from tests.batches import a_line, jsonl, lines_for, run_all, tend
from tests.factories import a_result

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from shared.jobs.job import Job
    from shared.services import Services


def post_lines(caller: Caller, data: bytes, query: str = "", **headers: str) -> TestResponse:
    return caller.post(
        f"/v1/batches{query}", data=data, content_type="application/jsonl", headers=headers
    )


def batch_of(caller: Caller, lines: list[Any], query: str = "") -> dict[str, Any]:
    """One that was accepted for a look."""
    answer = post_lines(caller, jsonl(lines), query)
    assert answer.status_code == 202, answer.text
    return answer.json  # type: ignore[return-value]


def get(caller: Caller, batch: dict[str, Any]) -> dict[str, Any]:
    return caller.get(f"/v1/batches/{batch['id']}").json  # type: ignore[return-value]


def results(caller: Caller, batch: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = caller.get(f"/v1/batches/{batch['id']}/results{query}")
    assert answer.content_type == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


def stored(services: Services) -> list[str]:
    return [each.key for prefix in PREFIXES for each in services.objects.walk(prefix, "", 1000)]


def finish(services: Services) -> Any:
    """Ends a job with pictures that are there."""

    def end(job: Job) -> None:
        result = a_result(job)
        for candidate in result["candidates"]:
            services.objects.put(candidate["key"], f"picture of {job.id}".encode())
        assert services.leases.succeed(job, result)

    return end


def test_a_batch_of_lines_is_answered_at_once_and_ends_completed(
    caller: Caller, services: Services
) -> None:
    image = caller.image()
    answer = post_lines(
        caller,
        jsonl(lines_for(image, 3)),
        "?metadata.order=7&webhook.url=https://hooks.example/b&webhook.events=batch.*",
    )
    assert answer.status_code == 202
    batch = answer.json
    assert batch is not None
    assert answer.headers["Location"] == f"/v1/batches/{batch['id']}"
    assert batch["status"] == "validating"
    assert batch["metadata"] == {"order": "7"}
    assert batch["webhook"] == {"url": "https://hooks.example/b", "events": ["batch.*"]}
    tend(services)
    assert get(caller, batch)["counts"]["queued"] == 3
    run_all(services, finish(services))
    done = get(caller, batch)
    assert (done["status"], done["counts"]["succeeded"]) == ("completed", 3)
    assert done["errors"] == []
    lines = results(caller, batch)
    assert [(line["line"], line["custom_id"], line["status"]) for line in lines] == [
        (n, f"item {n}", "succeeded") for n in (1, 2, 3)
    ]
    picture = caller.get(local(lines[0]["result"]["candidates"][0]["url"]))
    assert picture.data == f"picture of {lines[0]['job']}".encode()
    job = caller.get(f"/v1/jobs/{lines[0]['job']}").json
    assert job is not None
    assert job["batch"] == batch["id"]
    of_batch = caller.get(f"/v1/jobs?batch={batch['id']}").json
    assert of_batch is not None
    assert len(of_batch["data"]) == 3
    deliveries = caller.get("/v1/webhook-deliveries").json
    assert deliveries is not None
    assert [each["type"] for each in deliveries["data"]] == ["batch.completed"]


def test_results_begin_where_they_are_asked_to(caller: Caller, services: Services) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 5))
    tend(services)
    run_all(services, limit=2)
    states = [line["status"] for line in results(caller, batch)]
    assert states == ["succeeded", "succeeded", "queued", "queued", "queued"]
    assert [line["line"] for line in results(caller, batch, "?after_line=3")] == [4, 5]
    assert [line["line"] for line in results(caller, batch, "?after_line=1&limit=2")] == [2, 3]
    answer = caller.get(f"/v1/batches/{batch['id']}/results?after_line=x")
    assert said(answer) == {("/after_line", "wrong_type")}


def test_results_are_whole_when_they_are_more_than_a_page(
    caller: Caller, services: Services
) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 450))
    tend(services)
    assert [line["line"] for line in results(caller, batch)] == list(range(1, 451))
    limited = results(caller, batch, "?limit=401")
    assert len(limited) == 401


def test_every_bad_line_is_named_when_a_batch_is_rejected(
    caller: Caller, services: Services
) -> None:
    image = caller.image()
    lines = [
        a_line(image, "good"),
        b"{not json\n",
        b"[1]\n",
        b'{"custom_id": 5}\n',
        a_line(image, ""),
        {"image": image, "drags": [{"handle": [1, 1], "target": [9, 9]}]},
        a_line("img_nobody", "no image"),
        a_line(image, "outside", drags=[{"handle": [999, 1], "target": [2, 2]}]),
        a_line(image, "good"),
        a_line(image, "unknown", colour="red"),
        b'{"custom_id": "a", "custom_id": "b"}\n',
        b"\xff\xfe\n",
    ]
    batch = batch_of(caller, lines)
    tend(services)
    rejected = get(caller, batch)
    assert rejected["status"] == "rejected"
    found = {(error["line"], error["pointer"], error["code"]) for error in rejected["errors"]}
    assert {
        (2, "", "malformed_line"),
        (3, "", "malformed_line"),
        (4, "/custom_id", "wrong_type"),
        (4, "/image", "missing_field"),
        (5, "/custom_id", "wrong_length"),
        (6, "/custom_id", "missing_field"),
        (7, "/image", "image_not_found"),
        (8, "/drags/0/handle", "point_outside_image"),
        (9, "/custom_id", "duplicate_custom_id"),
        (10, "/colour", "unknown_field"),
        (11, "", "malformed_line"),
        (12, "", "malformed_line"),
    } <= found
    assert {line for line, _, _ in found} == set(range(2, 13))
    names = {error["line"]: error["custom_id"] for error in rejected["errors"]}
    assert (names[7], names[9], names[2]) == ("no image", "good", None)
    told = results(caller, batch)
    assert [line["status"] for line in told] == 11 * ["invalid"], "good lines are on their way out"
    assert told[6]["error"]["code"] == "point_outside_image"
    assert told[6]["error"]["errors"][0]["pointer"] == "/drags/0/handle"


def test_a_json_batch_is_checked_before_it_is_answered(caller: Caller, services: Services) -> None:
    image = caller.image()
    body: dict[str, Any] = {
        "defaults": {"options": {"format": "webp", "seed": 1}, "metadata": {"a": "1"}},
        "jobs": [
            a_line(image, "one", options={"seed": 2}, metadata={"b": "2"}),
            a_line("img_nobody", "two"),
            a_line(image, "one"),
        ],
        "metadata": {"order": "7"},
    }
    answer = caller.post("/v1/batches", json=body)
    assert answer.status_code == 422
    errors = answer.json["errors"]  # type: ignore[index]
    assert [(each["line"], each["pointer"], each["code"]) for each in errors] == [
        (2, "/image", "image_not_found"),
        (3, "/custom_id", "duplicate_custom_id"),
    ]
    answer = caller.post("/v1/batches?on_invalid=skip", json=body)
    assert answer.status_code == 202
    batch = answer.json
    assert batch is not None
    assert batch["status"] == "running"
    assert (batch["counts"]["queued"], batch["counts"]["invalid"]) == (1, 2)
    assert [error["line"] for error in get(caller, batch)["errors"]] == [2, 3]
    tend(services)
    (job,) = caller.get("/v1/jobs").json["data"]  # type: ignore[index]
    assert (job["request"]["options"]["seed"], job["request"]["options"]["format"]) == (2, "webp")
    assert job["metadata"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {("/jobs", "batch_empty")}),
        ({"jobs": []}, {("/jobs", "batch_empty")}),
        ({"jobs": [{}] * 1001}, {("/jobs", "wrong_length")}),
        ({"jobs": 5, "colour": 1}, {("/jobs", "wrong_type"), ("/colour", "unknown_field")}),
        ({"jobs": [1], "webhook": {"url": "ftp://x"}}, {("/webhook/url", "webhook_url_refused")}),
        ([], {("", "wrong_type")}),
    ],
)
def test_a_json_batch_is_refused_when_its_form_is_wrong(
    caller: Caller, body: Any, expected: set[tuple[str, str]]
) -> None:
    found = said(caller.post("/v1/batches", json=body))
    assert {pointer for pointer, _ in found} == {pointer for pointer, _ in expected}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?on_invalid=ignore", "/on_invalid"),
        ("?colour=red", "/colour"),
        ("?metadata.a=1&metadata.a=2", "/metadata.a"),
        ("?webhook.events=batch.*", "/webhook/url"),
        ("?webhook.url=https://hooks.example/&webhook.events=nonsense", "/webhook/events/0"),
    ],
)
def test_an_address_is_refused_when_it_says_nonsense_and_nothing_is_stored(
    caller: Caller, services: Services, query: str, pointer: str
) -> None:
    before = stored(services)
    answer = post_lines(caller, b"{}\n", query)
    assert pointer in {place for place, _ in said(answer)}
    answer = post_lines(caller, b"{}\n", query, **{"Idempotency-Key": "a"})
    assert answer.status_code == 422
    assert stored(services) == before


def test_other_types_are_refused(caller: Caller) -> None:
    answer = caller.post("/v1/batches", data=b"a,b\n", content_type="text/csv")
    assert is_problem(answer, 415, "unsupported_media_type")
    assert said(post_lines(caller, b"")) == {("", "batch_empty")}


def test_a_batch_is_refused_early_when_it_is_too_large(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_stream, "MAX_LINES", 3)
    before = stored(services)
    assert is_problem(post_lines(caller, b"{}\n" * 3 + b"{}"), 413, "batch_too_large")
    assert post_lines(caller, b"{}\n" * 3).status_code == 202
    monkeypatch.setattr(batch_stream, "MAX_BYTES", 100)
    assert is_problem(post_lines(caller, b"x" * 101), 413, "batch_too_large")
    chunked = caller.post(
        "/v1/batches",
        input_stream=io.BytesIO(b"x" * 200_000),
        content_type="application/jsonl",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert is_problem(chunked, 413, "batch_too_large")
    assert len(stored(services)) == len(before) + 1
    monkeypatch.setattr(routes, "MAX_JSON_BYTES", 100)
    answer = caller.post("/v1/batches", json={"jobs": ["x" * 200]})
    assert is_problem(answer, 413, "batch_too_large")


def test_the_same_key_gives_the_same_batch_and_leaves_nothing_behind(
    caller: Caller, services: Services
) -> None:
    data = jsonl(lines_for(caller.image(), 2))
    key = {"Idempotency-Key": "once"}
    first, second = (post_lines(caller, data, **key) for _ in range(2))
    assert first.json is not None
    assert second.json is not None
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json["id"] == second.json["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert is_problem(post_lines(caller, data + b"\n", **key), 422, "idempotency_key_reused")
    assert len([key for key in stored(services) if key.startswith("batches/")]) == 1
    other = caller.post("/v1/batches", json={"jobs": [a_line(caller.image(), "a")]}, headers=key)
    assert is_problem(other, 422, "idempotency_key_reused")


def test_the_lines_stay_when_nobody_knows_whether_their_batch_was_written(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit came through, its answer did not: the same key gives that batch, whole."""
    data = jsonl(lines_for(caller.image(), 1))
    create = type(services.batches).create

    def lost(*given: Any, **named: Any) -> None:
        create(*given, **named)
        raise DatabaseUnavailable("the answer was lost")

    key = {"Idempotency-Key": "once"}
    with monkeypatch.context() as patched:
        patched.setattr(type(services.batches), "create", lost)
        assert post_lines(caller, data, **key).status_code == 503
    again = post_lines(caller, data, **key)
    assert again.headers["Idempotency-Replayed"] == "true"
    tend(services)
    assert get(caller, again.json or {})["counts"]["queued"] == 1


def test_a_canceled_batch_says_so_however_often(caller: Caller, services: Services) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 3))
    tend(services)
    for _ in range(2):
        answer = caller.post(f"/v1/batches/{batch['id']}/cancel")
        assert answer.status_code == 200
        assert answer.json is not None
        assert (answer.json["status"], answer.json["counts"]["canceled"]) == ("canceled", 3)
    assert [line["status"] for line in results(caller, batch)] == 3 * ["canceled"]


def test_a_retry_is_a_new_batch_and_one_however_often_it_is_sent(
    caller: Caller, services: Services
) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 3))
    tend(services)
    path = f"/v1/batches/{batch['id']}/retry"
    assert is_problem(caller.post(path), 409, "batch_not_final")
    run_all(services, limit=1)
    run_all(services, lambda job: services.leases.fail(job, EngineFailed("no")))
    answers = [caller.post(path, headers={"Idempotency-Key": "again"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    bodies = [answer.json or {} for answer in answers]
    assert bodies[0]["id"] == bodies[1]["id"] != batch["id"]
    assert bodies[0]["retried_from"] == batch["id"]
    assert bodies[0]["counts"]["total"] == 2
    tend(services)
    run_all(services)
    assert is_problem(caller.post(f"/v1/batches/{bodies[0]['id']}/retry"), 409, "nothing_to_retry")


def test_batches_are_listed_newest_first_a_page_at_a_time(
    caller: Caller, services: Services
) -> None:
    image = caller.image()
    made = [batch_of(caller, lines_for(image, 1))["id"] for _ in range(3)]
    first = caller.get("/v1/batches?limit=2").json or {}
    rest = caller.get(f"/v1/batches?limit=2&cursor={first['next_cursor']}").json or {}
    assert [each["id"] for each in [*first["data"], *rest["data"]]] == made[::-1]
    assert rest["next_cursor"] is None
    tend(services)
    running = caller.get("/v1/batches?status=running").json or {}
    assert len(running["data"]) == 3
    assert said(caller.get("/v1/batches?cursor=x")) == {("/cursor", "wrong_format")}


def test_the_archive_holds_every_picture_and_says_whose_it_is(
    caller: Caller, services: Services
) -> None:
    image = caller.image()
    batch = batch_of(caller, [a_line(image, "../../etc/passwd"), *lines_for(image, 2)])
    tend(services)
    run_all(services, finish(services), limit=2)
    answer = caller.get(f"/v1/batches/{batch['id']}/archive")
    assert answer.content_type == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert archive.testzip() is None
    lines = [json.loads(line) for line in archive.read("results.jsonl").splitlines()]
    assert [line["status"] for line in lines] == ["succeeded", "succeeded", "queued"]
    for line in lines[:2]:
        (candidate,) = line["result"]["candidates"]
        assert archive.read(candidate["file"]) == f"picture of {line['job']}".encode()
        assert "url" not in candidate
    names = archive.namelist()
    assert len(names) == 3
    assert all(name.startswith("pictures/0000") or name == "results.jsonl" for name in names)
    assert not any(".." in name for name in names)
    services.objects.delete(f"results/{caller.account_id}/{lines[0]['job']}/1/0.png")
    again = zipfile.ZipFile(io.BytesIO(caller.get(f"/v1/batches/{batch['id']}/archive").data))
    (first, *_) = again.read("results.jsonl").splitlines()
    assert json.loads(first)["result"]["candidates"][0]["file"] is None


def test_an_archive_is_whole_when_a_picture_goes_while_it_is_sent(
    caller: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 2))
    tend(services)
    jobs = run_all(services, finish(services))
    get_object = services.objects.get

    def last_time(key: str) -> bytes:
        data = get_object(key)
        services.upkeep.say_that_pictures_are_gone(services.jobs.get(caller.account_id, jobs[0].id))
        return data

    monkeypatch.setattr(services.objects, "get", last_time)
    data = caller.get(f"/v1/batches/{batch['id']}/archive").data
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    lines = [json.loads(line) for line in archive.read("results.jsonl").splitlines()]
    assert [line["result"]["candidates"][0]["file"] for line in lines] == archive.namelist()[:2]


@pytest.mark.parametrize(("what", "places"), [("archive", "archives"), ("results", "results")])
def test_no_more_are_sent_at_once_than_there_are_threads_for(
    caller: Caller, services: Services, app: Any, what: str, places: str
) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 1))
    free = getattr(app.extensions["towline"], places)
    others = [f"acc_{n}" for n in range(free.limit)]
    for other in others:
        assert free.take(other)
    assert is_problem(caller.get(f"/v1/batches/{batch['id']}/{what}"), 503, "too_many_streams")
    for other in others:
        free.give_back(other)
    for _ in range(free.share):
        assert free.take("acc_1")
    assert not free.take("acc_1"), "one account leaves places for others"
    for _ in range(free.limit + 2):
        answer = caller.get(f"/v1/batches/{batch['id']}/{what}")
        assert answer.status_code == 200
        answer.close()


def test_a_deleted_job_is_told_as_such(caller: Caller, services: Services) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 1))
    tend(services)
    run_all(services)
    (line,) = results(caller, batch)
    assert caller.delete(f"/v1/jobs/{line['job']}").status_code == 200
    (line,) = results(caller, batch)
    assert (line["status"], line["result"]) == ("deleted", None)
    assert get(caller, batch)["counts"]["succeeded"] == 1


def test_who_waits_is_answered_once_the_batch_has_ended(caller: Caller, services: Services) -> None:
    batch = batch_of(caller, lines_for(caller.image(), 1))
    tend(services)
    answer = caller.get(f"/v1/batches/{batch['id']}", headers={"Prefer": "wait=0"})
    assert answer.headers["Preference-Applied"] == "wait=0"
    run_all(services)
    answer = caller.get(f"/v1/batches/{batch['id']}", headers={"Prefer": "wait=60"})
    assert answer.json is not None
    assert answer.json["status"] == "completed"

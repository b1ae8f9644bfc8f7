"""What a client may rely on, on the fake and the real service alike: the fake cannot drift."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import towline
from tests.client.conftest import DRAG, LARGE, MIDDLE, SMALL, Place, noise
from towline import edit, errors

NOBODY = "0" * 32


@pytest.fixture
def image(client: Any) -> Any:
    return client.images.upload(noise(*SMALL))


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["small", "middle", "large"])
def test_an_image_is_there_when_it_was_uploaded(client: Any, size: Any, tmp_path: Path) -> None:
    data = noise(*size)
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    image = client.images.upload(path)
    assert (image.width, image.height, image.content_type) == (*size, "image/png")
    assert (image.sha256, image.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert abs(datetime.now(UTC) - image.created_at) < timedelta(minutes=5)
    assert client.images.get(image).id == image.id
    assert client.images.upload(data).id == image.id
    assert client.images.upload(io.BytesIO(data)).id == image.id
    there = client.download(client.images.get(image.id).url, tmp_path / "again.png")
    assert there.read_bytes() == data


def test_an_image_is_gone_when_it_was_deleted(client: Any, image: Any) -> None:
    gone = client.images.delete(image)
    assert (gone.id, gone.deleted, gone.removed.objects) == (image.id, True, 1)
    with pytest.raises(towline.NotFound) as caught:
        client.images.get(image)
    assert (caught.value.code, caught.value.status) == ("not_found", 404)
    assert caught.value.request_id
    with pytest.raises(towline.NotFound):
        client.images.delete(image)


@pytest.mark.parametrize("data", [b"GIF89a nothing", b""], ids=["a gif", "nothing"])
def test_bytes_are_refused_when_they_are_no_picture(client: Any, data: bytes) -> None:
    with pytest.raises(errors.UnsupportedImageType) as caught:
        client.images.upload(data)
    assert caught.value.status == 415


def test_a_job_is_seen_to_its_end_when_it_is_waited_for(
    client: Any, image: Any, tmp_path: Path
) -> None:
    job = client.jobs.create(image, [DRAG], options={"seed": 7}, metadata={"order": "1"})
    assert job.status in ("queued", "running", "succeeded")
    assert job.request["image"] == image.id
    done = client.jobs.wait(job)
    assert (done.id, done.status, done.is_final, done.error) == (job.id, "succeeded", True, None)
    assert done.created_at <= done.started_at <= done.finished_at
    assert done.metadata == {"order": "1"}
    (candidate,) = done.result.candidates
    assert (candidate.seed, candidate.width, candidate.height) == (7, *SMALL)
    path = client.jobs.download(done, tmp_path / "out.png")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == candidate.sha256
    assert client.jobs.picture(job.id) == path.read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


def test_a_job_has_ended_in_its_first_answer_when_its_submission_waits(
    client: Any, image: Any
) -> None:
    assert client.jobs.create(image, [DRAG], wait_s=30).is_final


def test_what_happened_is_told_in_order_when_a_job_is_followed(client: Any, image: Any) -> None:
    job = client.jobs.create(image, [DRAG])
    told = list(client.jobs.events(job))
    states = [each.status for each in told if isinstance(each, towline.StatusEvent)]
    assert states == ["queued", "running", "succeeded"]
    pictures = [each for each in told if isinstance(each, towline.CandidateEvent)]
    assert [each.sha256 for each in pictures] == [
        each.sha256 for each in client.jobs.get(job).result.candidates
    ]
    assert {each.job for each in told} == {job.id}
    assert len({each.id for each in told}) == len(told)
    after = list(client.jobs.events(job, last_event_id=told[0].id))
    assert [each.id for each in after] == [
        each.id for each in told[1:] if not isinstance(each, towline.ProgressEvent)
    ]
    assert list(client.jobs.events(job, last_event_id=told[-1].id)) == []


BAD: list[dict[str, Any]] = [
    {},
    {"image": f"img_{NOBODY}", "drags": [{"handle": [1, 1], "target": [2, 2]}]},
    {"image": ...},
    {"image": ..., "drags": [{"handle": [1, 1], "target": [2, 2]}],
     "rounds": [[{"handle": [1, 1], "target": [2, 2]}]]},
    {"image": ..., "drags": [{"handle": [1, 1], "target": [900, 1]}]},
    {"image": ..., "drags": [{"handle": [1, 1], "target": [1, 1]}]},
    {"image": ..., "drags": []},
    {"image": ..., "drags": [{"handle": [1, 1], "target": [9, 9]}], "nonsense": 1,
     "priority": "urgent", "engine": "nobody's", "metadata": {"a": 1},
     "options": {"bogus": 1, "seed": -1, "candidates": 99}},
]  # fmt: skip


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_all_that_is_wrong_is_said_at_once_when_an_edit_is_not_valid(
    client: Any, image: Any, body: dict[str, Any]
) -> None:
    body = {name: image.id if value is ... else value for name, value in body.items()}
    validation = client.jobs.validate(body)
    assert not validation.valid
    with pytest.raises(towline.InvalidRequest) as caught:
        client.jobs.create_from(body)
    said = {(each.pointer, each.code) for each in caught.value.errors}
    assert said == {(each.pointer, each.code) for each in validation.problems}
    codes = {code for _, code in said}
    assert caught.value.code == (codes.pop() if len(codes) == 1 else "invalid_request")
    assert said == EXPECTED[BAD.index(body) if body in BAD else _index(body, image.id)]


def _index(body: dict[str, Any], image: str) -> int:
    filled = [{n: image if v is ... else v for n, v in each.items()} for each in BAD]
    return filled.index(body)


EXPECTED: list[set[tuple[str, str]]] = [
    {("/image", "missing_field"), ("/drags", "missing_field")},
    {("/image", "image_not_found")},
    {("/drags", "missing_field")},
    {("/rounds", "conflicting_fields")},
    {("/drags/0/target", "point_outside_image")},
    {("/drags", "zero_length_drags")},
    {("/drags", "wrong_length")},
    {("/nonsense", "unknown_field"), ("/priority", "out_of_range"),
     ("/engine", "engine_unavailable"), ("/metadata/a", "wrong_type"),
     ("/options/bogus", "unknown_field"), ("/options/seed", "option_out_of_range"),
     ("/options/candidates", "option_out_of_range")},
]  # fmt: skip


def test_nothing_is_stored_when_an_edit_is_validated(client: Any, image: Any) -> None:
    label = {"test": uuid4().hex}
    assert client.jobs.validate(edit(image, [DRAG], metadata=label)).valid
    assert list(client.jobs.list(metadata=label)) == []


def test_every_page_is_walked_when_jobs_are_listed(client: Any, image: Any) -> None:
    label = {"test": uuid4().hex}
    made = [client.jobs.create(image, [DRAG], metadata=label).id for _ in range(5)]
    listed = [job.id for job in client.jobs.list(metadata=label, page_size=2)]
    assert listed == made[::-1]
    client.jobs.wait(made[-1])
    first = next(iter(client.jobs.list(metadata=label, page_size=1)))
    assert first.id == made[-1]


def test_the_same_job_is_answered_when_a_key_is_used_again(client: Any, image: Any) -> None:
    key, label = f"order 12, {uuid4().hex}", {"test": uuid4().hex}
    options = {"idempotency_key": key, "metadata": label}
    first, second = (client.jobs.create(image, [DRAG], **options) for _ in range(2))
    assert first.id == second.id
    assert len(list(client.jobs.list(metadata=label))) == 1
    with pytest.raises(errors.IdempotencyKeyReused):
        client.jobs.create(image, [((1, 1), (5, 5))], **options)


def test_a_job_is_made_again_and_deleted_when_it_has_ended(client: Any, image: Any) -> None:
    done = client.jobs.wait(client.jobs.create(image, [DRAG]))
    again = client.jobs.retry(done)
    assert (again.retried_from, again.id != done.id) == (done.id, True)
    client.jobs.wait(again)
    gone = client.jobs.delete(done)
    assert gone.removed.objects >= 1
    with pytest.raises(towline.NotFound):
        client.jobs.get(done)
    with pytest.raises(towline.NotFound):
        next(iter(client.jobs.events(done)), None)


def test_a_cancel_may_be_repeated_when_the_job_has_ended(client: Any, image: Any) -> None:
    done = client.jobs.wait(client.jobs.create(image, [DRAG]))
    assert client.jobs.cancel(done).status == done.status
    assert client.jobs.cancel(done.id).status == done.status


@pytest.mark.parametrize(
    "thing", ["jobs", "images", "batches", "webhook_endpoints", "webhook_deliveries"]
)
@pytest.mark.parametrize("its_id", ["x", "../account", f"job_{NOBODY}"])
def test_a_thing_is_not_found_when_nothing_has_its_id(client: Any, thing: str, its_id: str) -> None:
    with pytest.raises(towline.NotFound):
        getattr(client, thing).get(its_id)


def test_nobody_is_let_in_when_the_key_is_wrong(place: Place) -> None:
    if place.fake:
        place.fake.api_key = "tow_another_one"
    with place.client(api_key="tow_nobody_knows") as client:
        with pytest.raises(errors.Unauthorized) as caught:
            client.account.get()
        assert caught.value.status == 401
        assert "tow_nobody" not in repr(client) + str(caught.value) + repr(caught.value)


def test_no_secret_is_logged_by_what_lies_below(
    client: Any, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.images.upload(noise(*LARGE))
    assert "PUT" in caplog.text
    for secret in (place.options["api_key"], "signature="):
        assert secret not in caplog.text


def test_an_endpoint_lives_through_its_changes_when_it_is_managed(client: Any) -> None:
    made = client.webhook_endpoints.create(
        "https://app.example/towline", events=["job.*"], description="shop"
    )
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)
    assert (made.url, made.events, made.disabled) == (made.url, ("job.*",), False)
    assert client.webhook_endpoints.get(made).secret is None
    assert made.id in [each.id for each in client.webhook_endpoints.list(page_size=1)]
    changed = client.webhook_endpoints.update(made, disabled=True)
    assert (changed.disabled, changed.disabled_reason) == (True, "owner")
    assert changed.description == "shop"
    with pytest.raises(errors.EndpointDisabled):
        client.webhook_endpoints.test(made)
    client.webhook_endpoints.update(made.id, disabled=False, events=["job.failed"])
    rotated = client.webhook_endpoints.rotate_secret(made)
    assert rotated.secret not in (None, made.secret)
    assert rotated.previous_secret_expires_at > datetime.now(UTC)
    delivery = client.webhook_endpoints.test(made)
    assert (delivery.type, delivery.endpoint) == ("endpoint.test", made.id)
    listed = list(client.webhook_deliveries.list(endpoint=made))
    assert [each.id for each in listed] == [delivery.id]
    assert client.webhook_deliveries.get(delivery).event == delivery.event
    assert client.webhook_deliveries.replay(delivery).id == delivery.id
    since = datetime.now(UTC) + timedelta(minutes=1)  # the replay may have failed by now
    assert client.webhook_endpoints.replay_failed(made, since).replayed == 0
    client.webhook_endpoints.delete(made)
    with pytest.raises(towline.NotFound):
        client.webhook_endpoints.get(made)


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [({"events": ["nonsense"]}, "/events/0", "out_of_range")],
)
def test_an_endpoint_is_refused_when_nothing_will_match_it(
    client: Any, change: dict[str, Any], pointer: str, code: str
) -> None:
    with pytest.raises(towline.InvalidRequest) as caught:
        client.webhook_endpoints.create("https://app.example/", **change)
    assert [(each.pointer, each.code) for each in caught.value.errors] == [(pointer, code)]


def test_the_secret_of_the_account_is_another_when_it_was_rotated(client: Any) -> None:
    before = client.webhook_secret.get()
    assert before.secret.startswith("whsec_")
    assert before.secret not in repr(before)
    after = client.webhook_secret.rotate()
    assert after.secret not in (before.secret, "")
    assert client.webhook_secret.get().secret == after.secret


def test_engines_and_the_account_are_told_when_they_are_asked_for(client: Any) -> None:
    (default,) = [engine for engine in client.engines.list() if engine.is_default]
    assert default.name == "warp"
    assert default.options["candidates"].maximum >= 1
    account = client.account.get()
    assert account.usage.month_ends_at > datetime.now(UTC)
    assert "read" in account.key.scopes
    assert all(entry.created_at for entry in client.account.audit_log(page_size=200))


@pytest.fixture
def batches(client: Any) -> Any:
    return client.batches


def _edits(image: Any, count: int, **more: Any) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        yield edit(image, [DRAG], custom_id=f"edit {number}", options={"seed": number}, **more)


def test_a_batch_is_seen_to_its_end_when_it_is_waited_for(
    client: Any, batches: Any, image: Any, tmp_path: Path
) -> None:
    label = uuid4().hex
    told = {"url": "https://app.example/", "events": ["batch.completed", "batch.canceled"]}
    batch = batches.create(_edits(image, 3), metadata={"test": label}, webhook=told)
    assert (batch.webhook.url, batch.webhook.events) == (told["url"], tuple(told["events"]))
    assert batch.status in ("validating", "running", "completed")
    done = batches.wait(batch)
    assert (done.id, done.status, done.is_final) == (batch.id, "completed", True)
    assert (done.counts.total, done.counts.succeeded, done.counts.final) == (3, 3, 3)
    assert done.metadata == {"test": label}
    items = list(batches.results(batch))
    assert [(each.line, each.custom_id, each.status) for each in items] == [
        (number, f"edit {number}", "succeeded") for number in (1, 2, 3)
    ]
    assert [each.line for each in batches.results(batch, after_line=2)] == [3]
    picture = client.download(items[0].result.candidates[0], tmp_path / "1.png")
    assert picture.read_bytes() == client.jobs.picture(items[0].job)
    assert {job.id for job in client.jobs.list(batch=batch)} == {each.job for each in items}
    path = batches.archive(batch, tmp_path / "all.zip")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        lines = archive.read("results.jsonl").splitlines()
    assert names == [*[f"pictures/0000{n}-edit_{n}.png" for n in (1, 2, 3)], "results.jsonl"]
    files = [json.loads(line)["result"]["candidates"][0]["file"] for line in lines]
    assert files == names[:3]
    assert [json.loads(line)["custom_id"] for line in lines] == [each.custom_id for each in items]
    assert batch.id in [each.id for each in batches.list(status="completed")]
    with pytest.raises(errors.NothingToRetry):
        batches.retry(batch)
    with pytest.raises(errors.BatchEmpty):
        batches.create([])


def test_a_batch_of_a_file_is_taken_as_it_is(batches: Any, image: Any, tmp_path: Path) -> None:
    path = tmp_path / "edits.jsonl"
    path.write_text("\n\n".join(json.dumps(each) for each in _edits(image, 2)))
    done = batches.wait(batches.create(path))
    assert (done.status, done.counts.succeeded) == ("completed", 2)
    assert [each.line for each in batches.results(done)] == [1, 3]


@pytest.mark.parametrize("on_invalid", ["reject", "skip"])
def test_each_bad_line_of_a_batch_is_named(batches: Any, image: Any, on_invalid: Any) -> None:
    first, second = _edits(image, 2)
    bad = {**second, "drags": [{"handle": [1, 1], "target": [900, 1]}], "custom_id": "bad"}
    done = batches.wait(batches.create([first, bad, second], on_invalid=on_invalid))
    (error,) = done.errors
    assert (error.line, error.custom_id, error.pointer, error.code) == (
        2, "bad", "/drags/0/target", "point_outside_image",
    )  # fmt: skip
    if on_invalid == "reject":
        assert done.status == "rejected"
        with pytest.raises(towline.BatchRejected, match="Line 2"):
            done.raise_for_status()
    else:
        assert (done.status, done.counts.succeeded, done.counts.invalid) == ("completed", 2, 1)
        (item,) = [each for each in batches.results(done) if each.status == "invalid"]
        assert (item.line, item.error.code) == (2, "point_outside_image")
        assert item.error.errors[0].code == "point_outside_image"


def test_every_kind_of_bad_line_is_told(batches: Any, image: Any, tmp_path: Path) -> None:
    good, other = _edits(image, 2)
    nameless = {name: value for name, value in good.items() if name != "custom_id"}
    two_things = {**other, "priority": "urgent", "nonsense": 1}
    lines = [good, "{", nameless, {**good}, [1], two_things, {**other, "custom_id": 5}]
    path = tmp_path / "edits.jsonl"
    path.write_text("\n".join(each if each == "{" else json.dumps(each) for each in lines))
    done = batches.wait(batches.create(path, on_invalid="skip"))
    told = {(each.line, each.custom_id, each.pointer, each.code) for each in done.errors}
    assert told == {
        (2, None, "", "malformed_line"),
        (3, None, "/custom_id", "missing_field"),
        (4, "edit 1", "/custom_id", "duplicate_custom_id"),
        (5, None, "", "malformed_line"),
        (6, "edit 2", "/priority", "out_of_range"),
        (6, "edit 2", "/nonsense", "unknown_field"),
        (7, None, "/custom_id", "wrong_type"),
    }
    items = {each.line: each for each in batches.results(done)}
    assert items[1].status == "succeeded"
    assert items[6].error.code == "invalid_request"
    assert {each.code for each in items[6].error.errors} == {"out_of_range", "unknown_field"}


def test_a_cancel_of_a_batch_may_be_repeated(batches: Any, image: Any) -> None:
    batch = batches.create(_edits(image, 2))
    batches.cancel(batch)
    done = batches.wait(batch)
    assert done.status in ("canceled", "completed")
    assert batches.cancel(done).status == done.status

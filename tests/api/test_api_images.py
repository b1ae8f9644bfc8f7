"""Pictures sent through the API, looked at, and deleted."""

from __future__ import annotations

import hashlib
import io
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from api.context import EXTENSION
from shared.images.tables import images
from tests.api.calling import NOBODY, Caller, caller_of, is_problem, local, said, white
from tests.factories import a_picture, let_pass
from tests.hostile import Decoded, Hostile, corpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Row

    from shared.services import Services
    from shared.settings import Settings

CODES = {"image_too_large": 413, "unsupported_image_type": 415, "image_unreadable": 422}


def rows(services: Services) -> list[Row[Any]]:
    with services.database.reading() as connection:
        return list(connection.execute(images.select()))


def stored(settings: Settings) -> list[Path]:
    return [path for path in settings.objects_folder.rglob("*") if path.is_file()]


def form(data: bytes, field: str = "file") -> dict[str, Any]:
    return {
        "data": {field: (io.BytesIO(data), "picture.png")},
        "content_type": "multipart/form-data",
    }


def test_an_upload_answers_with_the_image_when_its_bytes_are_new(caller: Caller) -> None:
    data = a_picture(30, 20)
    answer = caller.send_picture(data)
    assert answer.status_code == 201
    image = answer.json
    assert list(image) == [
        "id", "width", "height", "content_type", "size_bytes", "sha256", "created_at",
        "expires_at", "url",
    ]  # fmt: skip
    assert (image["width"], image["height"], image["content_type"]) == (30, 20, "image/png")
    assert (image["size_bytes"], image["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    created, expires = (
        datetime.fromisoformat(image[name]) for name in ("created_at", "expires_at")
    )
    assert created.tzinfo == UTC
    assert image["created_at"].endswith("Z")
    assert round((expires - created).total_seconds() / 86_400) == 30


def test_an_upload_gives_back_the_very_bytes_at_its_url_without_a_key(caller: Caller) -> None:
    data = a_picture()
    url = caller.send_picture(data).json["url"]
    answer = caller.client.get(local(url))
    assert answer.status_code == 200
    assert answer.data == data
    assert answer.content_type == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_upload_takes_a_form_when_the_file_is_in_its_field(caller: Caller) -> None:
    data = a_picture()
    answer = caller.post("/v1/images", **form(data))
    assert answer.status_code == 201
    assert answer.json["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "sent",
    [
        {"data": {"file": "text"}, "content_type": "multipart/form-data"},
        {"data": b"no boundary", "content_type": "multipart/form-data"},
        {"data": b"", "content_type": "multipart/form-data; boundary=x"},
    ],
    ids=["a text field", "no boundary", "nothing"],
)
def test_an_upload_names_the_missing_field_when_a_form_has_no_file(
    anybody: Caller, sent: dict[str, Any]
) -> None:
    assert said(anybody.post("/v1/images", **sent)) == {("/file", "missing_field")}


def test_an_upload_answers_200_with_the_same_image_when_the_bytes_came_before(
    caller: Caller, services: Services
) -> None:
    first = caller.send_picture(a_picture()).json
    let_pass(services.database, seconds=3600)
    again = caller.send_picture(a_picture())
    assert again.status_code == 200
    assert again.json["id"] == first["id"]
    assert again.json["expires_at"] >= first["expires_at"], "the same bytes renew the image"
    assert len(rows(services)) == 1


def test_an_upload_makes_an_image_of_its_own_when_another_account_has_the_bytes(
    caller: Caller, stranger: Caller, settings: Settings
) -> None:
    mine, theirs = caller.send_picture(a_picture()), stranger.send_picture(a_picture())
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json["id"] != theirs.json["id"]
    assert stranger.delete(f"/v1/images/{theirs.json['id']}").status_code == 200
    assert caller.client.get(local(mine.json["url"])).data == a_picture()
    assert len(stored(settings)) == 1


@pytest.mark.parametrize("item", corpus(), ids=lambda item: item.name)
def test_an_upload_gets_its_code_or_its_size_when_the_picture_is_hostile(
    anybody: Caller, item: Hostile
) -> None:
    services: Services = anybody.client.application.extensions[EXTENSION].services
    before = len(rows(services)), len(stored(services.settings))
    answer = anybody.send_picture(item.data)
    if isinstance(item.expected, Decoded):
        expected = (item.expected.width, item.expected.height, item.expected.content_type)
        assert answer.status_code in (200, 201), answer.text  # some are the same bytes
        image = answer.json
        assert (image["width"], image["height"], image["content_type"]) == expected
    else:
        assert is_problem(answer, CODES[item.expected], item.expected)
        assert (len(rows(services)), len(stored(services.settings))) == before


@pytest.mark.parametrize(
    "content_type",
    ["image/jpeg", "image/webp", "image/png; x=y", "image/x-whatever", "application/octet-stream"],
)
def test_an_upload_is_judged_by_its_bytes_when_the_header_says_otherwise(
    caller: Caller, content_type: str
) -> None:
    answer = caller.send_picture(a_picture(), content_type)
    assert answer.status_code == 201
    assert answer.json["content_type"] == "image/png"


def test_an_upload_is_judged_by_its_bytes_when_there_is_no_header(caller: Caller) -> None:
    assert caller.post("/v1/images", data=a_picture()).status_code == 201


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/gif", None])
def test_an_upload_is_judged_by_its_bytes_when_the_header_says_something_else(
    anybody: Caller, content_type: str | None
) -> None:
    assert anybody.send_picture(a_picture(), content_type).status_code in (200, 201)
    answer = anybody.send_picture(b'{"no": "picture"}', content_type)
    assert is_problem(answer, 415, "unsupported_image_type")


def test_a_form_is_refused_when_it_holds_more_than_one_picture(anybody: Caller) -> None:
    fields = {"picture": "x", "file": [(io.BytesIO(a_picture()), name) for name in ("a", "b")]}
    sent = {"data": fields, "content_type": "multipart/form-data"}
    assert said(anybody.post("/v1/images", **sent)) == {
        ("/picture", "unknown_field"),
        ("/file", "conflicting_fields"),
    }


def test_lost_bytes_come_back_when_the_same_picture_is_uploaded_again(
    caller: Caller, services: Services, settings: Settings
) -> None:
    image = caller.send_picture(a_picture()).json
    shutil.rmtree(settings.objects_folder / "images")
    assert caller.send_picture(a_picture()).json["id"] == image["id"]
    [account_id] = {path.name for path in (settings.objects_folder / "images").iterdir()}
    key = services.images.get(account_id, image["id"]).object_key
    assert services.objects.get(key or "") == a_picture()


@pytest.mark.parametrize("as_form", [False, True], ids=["bytes", "form"])
def test_an_upload_is_too_large_when_the_operator_allows_less(
    build: Callable[..., Services], as_form: bool
) -> None:
    caller = caller_of(build(max_image_bytes=500))
    sent = form(a_picture()) if as_form else {"data": a_picture(), "content_type": "image/png"}
    assert is_problem(caller.post("/v1/images", **sent), 413, "image_too_large")


def test_an_upload_is_too_large_and_not_cut_off_when_it_comes_in_chunks(
    build: Callable[..., Services],
) -> None:
    data = a_picture()
    caller = caller_of(build(max_image_bytes=len(data)))
    for sent, status in ((data, 201), (data + b"\0", 413)):
        answer = caller.post(
            "/v1/images",
            input_stream=io.BytesIO(sent),
            content_type="image/png",
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert answer.status_code == status, answer.text


def test_an_upload_is_too_large_when_a_form_is_beyond_all_bounds(
    build: Callable[..., Services],
) -> None:
    caller = caller_of(build(max_image_bytes=500))
    answer = caller.post("/v1/images", **form(bytes(200_000)))
    assert is_problem(answer, 413, "image_too_large")


def test_an_image_is_shown_as_it_was_when_it_is_asked_for(caller: Caller) -> None:
    image = caller.send_picture(a_picture()).json
    answer = caller.get(f"/v1/images/{image['id']}")
    assert answer.status_code == 200
    assert {**answer.json, "url": ""} == {**image, "url": ""}
    assert caller.client.get(local(answer.json["url"])).data == a_picture()


def test_an_image_is_gone_with_its_bytes_when_it_was_deleted(
    caller: Caller, settings: Settings
) -> None:
    image = caller.send_picture(a_picture()).json
    path = f"/v1/images/{image['id']}"
    answer = caller.delete(path)
    assert (answer.status_code, answer.json["deleted"]) == (200, True)
    assert is_problem(caller.get(path), 404, "not_found")
    assert is_problem(caller.delete(path), 404, "not_found")
    assert is_problem(caller.client.get(local(image["url"])), 404, "not_found")
    assert not stored(settings)


@pytest.mark.parametrize("role", ["image", "mask"])
def test_a_submission_is_told_that_an_image_is_gone_though_an_earlier_one_named_it(
    caller: Caller, role: str
) -> None:
    gone = caller.image(white(64, 48))
    job = caller.job(**{role: gone})
    caller.post(f"/v1/jobs/{job['id']}/cancel")
    assert caller.delete(f"/v1/images/{gone}").status_code == 200
    answer = caller.submit(**{role: gone})
    assert is_problem(answer, 422, "image_not_found")
    assert [error["pointer"] for error in answer.json["errors"]] == [f"/{role}"]


@pytest.mark.parametrize("role", ["image", "mask"])
def test_an_image_stays_when_a_job_that_has_not_ended_needs_it(caller: Caller, role: str) -> None:
    needed = caller.image(white(64, 48))
    job = caller.job(**{role: needed})
    assert is_problem(caller.delete(f"/v1/images/{needed}"), 409, "image_in_use")
    assert caller.get(f"/v1/images/{needed}").status_code == 200
    caller.post(f"/v1/jobs/{job['id']}/cancel")
    assert caller.delete(f"/v1/images/{needed}").status_code == 200


@pytest.mark.parametrize("image_id", [f"img_{NOBODY}", "img_x", "x" * 3000, "img_%00", "..%2fx"])
def test_an_image_is_not_found_when_there_is_none(anybody: Caller, image_id: str) -> None:
    for method, path in (
        ("GET", f"/v1/images/{image_id}"),
        ("DELETE", f"/v1/images/{image_id}"),
        ("POST", f"/v1/images/{image_id}/complete"),
    ):
        assert is_problem(anybody.call(method, path), 404, "not_found")

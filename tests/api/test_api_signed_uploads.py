"""Bytes that are put to a signed URL, and what `complete` makes of them."""

from __future__ import annotations

import hashlib
import io
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from shared.signed_urls import UrlSigner
from tests.api.calling import NOBODY, Caller, caller_of, is_problem, local, said
from tests.crowd import in_threads
from tests.factories import a_picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from werkzeug.test import TestResponse

    from shared.services import Services
    from shared.settings import Settings

DATA = a_picture(30, 20, seed=7)


def put(caller: Caller, url: str, data: bytes = DATA, **options: Any) -> TestResponse:
    """As a client without a key would."""
    return caller.client.put(local(url), data=data, content_type="image/png", **options)


def complete(caller: Caller, image_id: str) -> TestResponse:
    return caller.post(f"/v1/images/{image_id}/complete")


def staged(settings: Settings) -> list[Path]:
    folder = settings.objects_folder / "staging"
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_upload_is_an_image_when_its_bytes_were_put_and_completed(
    caller: Caller, settings: Settings
) -> None:
    answer = caller.announce(DATA)
    assert answer.status_code == 201
    assert list(answer.json) == ["id", "upload"]
    upload = answer.json["upload"]
    assert list(upload) == ["method", "url", "headers", "expires_at"]
    assert (upload["method"], upload["headers"]) == ("PUT", {"Content-Type": "image/png"})
    assert put(caller, upload["url"]).status_code == 200
    done = complete(caller, answer.json["id"])
    assert done.status_code == 200
    assert (done.json["id"], done.json["width"], done.json["height"]) == (answer.json["id"], 30, 20)
    assert caller.client.get(local(done.json["url"])).data == DATA
    assert not staged(settings)


def test_an_upload_can_be_completed_again_when_it_was_completed(caller: Caller) -> None:
    announced = caller.announce(DATA).json
    put(caller, announced["upload"]["url"])
    first, again = (complete(caller, announced["id"]) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert {**first.json, "url": ""} == {**again.json, "url": ""}


def test_an_upload_is_completed_for_all_when_many_complete_it_at_once(
    caller: Caller, settings: Settings
) -> None:
    for seed in range(5):
        data = a_picture(seed=seed)
        announced = caller.announce(data).json
        put(caller, announced["upload"]["url"], data)
        rivals = [Caller(caller.client.application.test_client(), caller.key, "") for _ in range(4)]
        answers = in_threads(complete, [(rival, announced["id"]) for rival in rivals])
        assert [answer.status_code for answer in answers] == [200] * 4, answers[0].text
        assert {answer.json["id"] for answer in answers} == {announced["id"]}
    assert not staged(settings)


def test_an_upload_is_one_image_when_the_same_new_bytes_come_from_many_at_once(
    caller: Caller, settings: Settings
) -> None:
    rivals = [Caller(caller.client.application.test_client(), caller.key, "") for _ in range(6)]
    answers = in_threads(lambda rival: rival.send_picture(DATA), [(rival,) for rival in rivals])
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert caller.client.get(local(answers[0].json["url"])).data == DATA
    assert sum(path.is_file() for path in settings.objects_folder.rglob("*")) == 1


def test_an_upload_is_not_an_image_when_its_bytes_never_came(caller: Caller) -> None:
    image_id = caller.announce(DATA).json["id"]
    assert is_problem(complete(caller, image_id), 409, "image_not_uploaded")
    assert is_problem(caller.get(f"/v1/images/{image_id}"), 409, "image_not_uploaded")
    assert said(caller.submit(image=image_id)) == {("/image", "image_not_uploaded")}
    assert said(caller.submit(mask=image_id)) == {("/mask", "image_not_uploaded")}


def test_an_upload_is_not_an_image_when_its_bytes_were_put_but_not_completed(
    caller: Caller, settings: Settings
) -> None:
    announced = caller.announce(DATA).json
    put(caller, announced["upload"]["url"])
    path = f"/v1/images/{announced['id']}"
    assert is_problem(caller.get(path), 409, "image_not_uploaded")
    assert caller.delete(path).status_code == 200
    assert not staged(settings)
    assert is_problem(complete(caller, announced["id"]), 404, "not_found")


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0"], ids=["short", "long"])
def test_a_put_is_refused_when_its_size_is_not_the_announced_one(
    caller: Caller, settings: Settings, data: bytes
) -> None:
    announced = caller.announce(DATA).json
    answer = put(caller, announced["upload"]["url"], data)
    assert is_problem(answer, 422, "upload_mismatch")
    assert not staged(settings)


def test_a_put_is_refused_when_the_client_went_away_before_its_end(
    caller: Caller, settings: Settings
) -> None:
    url = local(caller.announce(DATA).json["upload"]["url"])
    answer = caller.client.put(
        url,
        input_stream=io.BytesIO(DATA[:-9]),
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(DATA))},
    )
    assert is_problem(answer, 400, "malformed_request")
    assert not staged(settings)


def test_a_put_is_refused_when_its_size_is_not_said(caller: Caller) -> None:
    url = local(caller.announce(DATA).json["upload"]["url"])
    answer = caller.client.put(url, headers={"Transfer-Encoding": "chunked"})
    assert is_problem(answer, 411, "length_required")


def test_an_upload_can_be_mended_when_other_bytes_of_the_same_size_were_put(
    caller: Caller, settings: Settings
) -> None:
    announced = caller.announce(DATA).json
    put(caller, announced["upload"]["url"], bytes(len(DATA)))
    assert is_problem(complete(caller, announced["id"]), 422, "upload_mismatch")
    put(caller, announced["upload"]["url"])
    assert complete(caller, announced["id"]).status_code == 200
    assert not staged(settings)


def test_an_upload_can_be_announced_anew_when_the_first_announcement_had_a_wrong_size(
    caller: Caller,
) -> None:
    caller.announce(DATA, size_bytes=len(DATA) + 1)
    announced = caller.announce(DATA).json
    assert put(caller, announced["upload"]["url"]).status_code == 200
    assert complete(caller, announced["id"]).status_code == 200


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GIF89a", 415, "unsupported_image_type"),
        (DATA[:-40], 422, "image_unreadable"),
    ],
    ids=["no picture", "truncated"],
)
def test_an_upload_gets_its_code_when_the_bytes_are_as_announced_but_no_picture(
    caller: Caller, data: bytes, status: int, code: str
) -> None:
    announced = caller.announce(data).json
    put(caller, announced["upload"]["url"], data)
    assert is_problem(complete(caller, announced["id"]), status, code)
    assert is_problem(caller.get(f"/v1/images/{announced['id']}"), 409, "image_not_uploaded")


def test_an_upload_is_what_its_bytes_are_when_another_type_was_announced(caller: Caller) -> None:
    announced = caller.announce(DATA, content_type="image/webp").json
    assert announced["upload"]["headers"] == {"Content-Type": "image/webp"}
    put(caller, announced["upload"]["url"])
    assert complete(caller, announced["id"]).json["content_type"] == "image/png"


def test_an_announcement_answers_200_when_the_bytes_are_known(
    caller: Caller, settings: Settings
) -> None:
    known = caller.image(DATA)
    announced = caller.announce(DATA)
    assert (announced.status_code, announced.json["id"]) == (200, known)
    assert put(caller, announced.json["upload"]["url"]).status_code == 200
    assert complete(caller, known).json["id"] == known
    assert not staged(settings), "what was put in vain goes"


def test_an_announcement_is_fulfilled_when_the_bytes_come_directly(caller: Caller) -> None:
    announced = caller.announce(DATA).json
    assert caller.image(DATA) == announced["id"]
    assert complete(caller, announced["id"]).status_code == 200


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"content_type": "image/gif"}, ("/content_type", "out_of_range")),
        ({"content_type": 5}, ("/content_type", "out_of_range")),
        ({"size_bytes": 0}, ("/size_bytes", "out_of_range")),
        ({"size_bytes": "5"}, ("/size_bytes", "wrong_type")),
        ({"size_bytes": True}, ("/size_bytes", "wrong_type")),
        ({"size_bytes": 1.5}, ("/size_bytes", "wrong_type")),
        ({"sha256": "0" * 63}, ("/sha256", "wrong_format")),
        ({"sha256": "0" * 64 + "\n"}, ("/sha256", "wrong_format")),
        ({"sha256": "G" * 64}, ("/sha256", "wrong_format")),
        ({"sha256": None}, ("/sha256", "wrong_type")),
        ({"name": "x"}, ("/name", "unknown_field")),
    ],
)
def test_an_announcement_is_refused_when_a_field_is_wrong(
    anybody: Caller, change: dict[str, Any], violation: tuple[str, str]
) -> None:
    assert said(anybody.announce(DATA, **change)) == {violation}


def test_an_announcement_names_every_field_when_all_are_wrong(anybody: Caller) -> None:
    answer = anybody.post("/v1/images/uploads", json={"size_bytes": -1, "x/y~z": 1})
    assert said(answer) == {
        ("/content_type", "missing_field"),
        ("/size_bytes", "out_of_range"),
        ("/sha256", "missing_field"),
        ("/x~1y~0z", "unknown_field"),
    }


def test_an_announcement_is_too_large_when_no_picture_may_be_that_large(caller: Caller) -> None:
    for size_bytes in (32 * 2**20 + 1, 10**30):
        answer = caller.announce(DATA, size_bytes=size_bytes)
        assert is_problem(answer, 413, "image_too_large")
    assert caller.announce(DATA, size_bytes=32 * 2**20).status_code == 201


def altered(url: str) -> dict[str, str]:
    """URLs that were not signed, each differing from one that was in one thing."""
    path, query = local(url).split("?")
    given = {name: values[0] for name, values in parse_qs(query).items()}
    changes = {
        "later": given | {"expires": str(int(given["expires"]) + 1)},
        "never": given | {"expires": str(10**30)},
        "signature": given | {"signature": "0" * 64},
        "no ascii": given | {"signature": "ü"},
        "empty": given | {"signature": ""},
        "no number": given | {"expires": "soon"},
        "huge": given | {"expires": "9" * 5000},
        "unsigned": {"expires": given["expires"]},
        "other size": given | {"size": "1"},
    }
    urls = {name: f"{path}?{urlencode(query)}" for name, query in changes.items()}
    return urls | {
        "other object": f"{path[:-1]}0?{query}" if path[-1] != "0" else f"{path}1?{query}"
    }


def test_a_signed_url_opens_nothing_when_it_was_altered(caller: Caller, settings: Settings) -> None:
    announced = caller.announce(DATA).json
    for name, url in altered(announced["upload"]["url"]).items():
        answer = caller.client.put(url, data=DATA, content_type="image/png")
        assert is_problem(answer, 403, "url_refused"), name
    image = caller.send_picture(DATA).json
    for name, url in altered(image["url"]).items():
        if name != "other size":  # means nothing to a download
            assert is_problem(caller.client.get(url), 403, "url_refused"), name
    assert not staged(settings)


def test_a_signed_url_opens_nothing_when_the_method_is_another(caller: Caller) -> None:
    upload = caller.announce(DATA).json["upload"]["url"]
    assert is_problem(caller.client.get(local(upload)), 403, "url_refused")
    image = caller.send_picture(DATA).json
    assert is_problem(put(caller, image["url"]), 403, "url_refused")
    assert is_problem(caller.client.delete(local(image["url"])), 405, "method_not_allowed")
    assert caller.client.get(local(image["url"])).data == DATA


def test_a_signed_url_opens_nothing_when_its_time_is_over(
    build: Callable[..., Services],
) -> None:
    services = build(url_ttl_s=1, upload_ttl_s=1)
    caller = caller_of(services)
    announced, image = caller.announce(DATA).json, caller.send_picture(a_picture()).json
    ends_at = int(parse_qs(urlsplit(image["url"]).query)["expires"][0])
    time.sleep(max(0.0, ends_at - time.time() + 0.05))
    assert is_problem(caller.client.get(local(image["url"])), 403, "url_refused")
    assert is_problem(put(caller, announced["upload"]["url"]), 403, "url_refused")


@pytest.mark.parametrize("key", ["images/../../towline.db", "images//etc/passwd", "../x", "x"])
def test_a_signed_url_stays_inside_the_storage_when_its_key_leads_out(
    caller: Caller, settings: Settings, key: str
) -> None:
    signer = UrlSigner(settings.secret_key.get_secret_value(), settings.base_url)
    answer = caller.client.get(local(signer.sign("GET", key, 60)))
    assert answer.status_code in (403, 404, 308)


def test_a_signed_url_is_not_found_when_its_object_is_gone(
    caller: Caller, settings: Settings
) -> None:
    signer = UrlSigner(settings.secret_key.get_secret_value(), settings.base_url)
    url = signer.sign("GET", f"images/acc/{'0' * 64}/img_{NOBODY}", 60)
    assert is_problem(caller.client.get(local(url)), 404, "not_found")


def test_an_upload_belongs_to_its_account_when_another_completes_it(
    caller: Caller, stranger: Caller
) -> None:
    announced = caller.announce(DATA).json
    put(caller, announced["upload"]["url"])
    assert is_problem(complete(stranger, announced["id"]), 404, "not_found")
    assert hashlib.sha256(DATA).hexdigest() == complete(caller, announced["id"]).json["sha256"]

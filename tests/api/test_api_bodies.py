"""Bodies as bytes: what is JSON, what says that it is, and how large it may be."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.calling import DRAG, Caller, is_problem, said

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

PATHS = ("/v1/jobs", "/v1/jobs/validate", "/v1/images/uploads")


def send(caller: Caller, data: bytes | str, path: str = "/v1/jobs", **options: Any) -> TestResponse:
    return caller.post(path, data=data, **{"content_type": "application/json", **options})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"nothing",
        b"{'image': 1}",
        b'{"image": "x",}',
        b'{"image": NaN}',
        b'{"timeout_s": Infinity}',
        b'{"timeout_s": -Infinity}',
        b'{"image": "\xff"}',
        b'{"image": "\xed\xa0\x80"}',
        b'{"image": "\x01"}',
        b'\xef\xbb\xbf{"image": "x"}',
        json.dumps({"image": "x"}).encode("utf-16"),
        json.dumps({"image": "x"}).encode("utf-32"),
        b'{"image": "x"} {"image": "y"}',
        b'{"image": "x", "image": "y"}',
        b'{"options": {"seed": 1, "seed": 2}}',
        b'{"timeout_s": ' + b"9" * 5000 + b"}",
        b"[" * 40 + b"]" * 40,
        rb'{"image": "\ud800"}',
        rb'{"\udfff": 1}',
        rb'{"metadata": {"a": ["\ud800x"]}}',
        b'{"drags":' + b"[" * 200_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_a_body_is_malformed_when_it_is_no_json(anybody: Caller, path: str, data: bytes) -> None:
    assert is_problem(send(anybody, data, path), 400, "malformed_request")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "image/png", ""],
)
def test_a_body_is_refused_when_it_does_not_say_that_it_is_json(
    anybody: Caller, path: str, content_type: str
) -> None:
    answer = send(anybody, json.dumps(anybody.body()), path, content_type=content_type)
    assert is_problem(answer, 415, "unsupported_media_type")


def test_a_body_is_taken_when_its_type_has_parameters(anybody: Caller) -> None:
    answer = send(
        anybody, json.dumps(anybody.body()), content_type="Application/JSON; charset=utf-8"
    )
    assert answer.status_code == 202


@pytest.mark.parametrize("path", PATHS)
def test_a_body_is_too_large_when_it_has_more_than_a_mebibyte(anybody: Caller, path: str) -> None:
    fitting = json.dumps({"image": "x"}).ljust(2**20)
    assert send(anybody, fitting, path).status_code in (200, 422)
    assert is_problem(send(anybody, fitting + " ", path), 413, "body_too_large")


CHUNKED = {"wsgi.input_terminated": True}  #: as gunicorn hands over what comes in chunks


@pytest.mark.parametrize("path", PATHS)
def test_a_body_is_too_large_when_it_comes_in_chunks(anybody: Caller, path: str) -> None:
    fitting = json.dumps({"image": "x"}).ljust(2**20).encode()
    for data, statuses in ((fitting, (200, 422)), (fitting + b" ", (413,))):
        answer = anybody.post(
            path,
            input_stream=io.BytesIO(data),
            content_type="application/json",
            environ_overrides=CHUNKED,
        )
        assert answer.status_code in statuses, answer.text


@pytest.mark.parametrize(
    "value", ["null", "[]", "[1]", "0", "true", "1.5", '"x"', '"{}"', '"null"']
)
def test_a_body_is_of_the_wrong_type_when_it_is_no_object(anybody: Caller, value: str) -> None:
    assert said(send(anybody, value)) == {("", "wrong_type")}
    assert said(send(anybody, value, "/v1/images/uploads")) == {("", "wrong_type")}
    answer = send(anybody, value, "/v1/jobs/validate")
    assert answer.status_code == 200
    assert [(p["pointer"], p["code"]) for p in answer.json["problems"]] == [("", "wrong_type")]


def test_a_body_is_of_the_wrong_type_when_it_is_json_inside_a_string(anybody: Caller) -> None:
    inside = json.dumps(json.dumps(anybody.body()))
    assert said(send(anybody, inside)) == {("", "wrong_type")}


def test_a_body_is_read_as_numbers_when_they_are_written_unusually(anybody: Caller) -> None:
    body = json.dumps(anybody.body(drags=...))[:-1]
    drags = '"drags": [{"handle": [2e1, 20.0], "target": [0.28e2, 20]}]'
    answer = send(anybody, f'{body}, {drags}, "timeout_s": 6e1, "options": {{"seed": 42.0}}}}')
    assert answer.status_code == 202, answer.text
    request = answer.json["request"]
    assert request["drags"] == [DRAG]
    assert (request["timeout_s"], request["options"]["seed"]) == (60, 42)
    assert isinstance(request["options"]["seed"], int)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e308", "-1e308"])
def test_a_body_is_out_of_range_when_a_number_is_beyond_every_float(
    anybody: Caller, number: str
) -> None:
    body = json.dumps(anybody.body(drags=...))[:-1]
    drags = f'"drags": [{{"handle": [{number}, 20], "target": [28, 20]}}]'
    found = said(send(anybody, f"{body}, {drags}}}"))
    assert found in (
        {("/drags/0/handle/0", "out_of_range")},
        {("/drags/0/handle", "point_outside_image")},
    )


@pytest.mark.parametrize(
    "image", [r'"\ud83d\udca5"', r'"\u0000"', r'"img_\u0000"', '"' + "x" * 100_000 + '"', '"💥"']
)
def test_a_body_names_an_image_that_is_not_found_when_its_name_is_strange(
    anybody: Caller, image: str
) -> None:
    data = f'{{"image": {image}, "mask": {image}, "drags": [{json.dumps(DRAG)}]}}'
    answer = send(anybody, data)
    assert answer.status_code == 422, answer.text
    assert {pointer for pointer, _ in said(answer)} <= {"/image", "/mask"}

"""A client of the API in this process: one account's key, and what its answers say."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from api.app import create_app
from shared.imaging import encode
from tests.factories import a_picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from shared.services import Services

DRAG = {"handle": [20, 20], "target": [28, 20]}  #: fits the factory's picture of 64 x 48
NOBODY = "0" * 32


@dataclass(frozen=True)
class Caller:
    """Somebody with a key."""

    client: FlaskClient
    key: str
    account_id: str

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.call("POST", path, **options)

    def delete(self, path: str) -> TestResponse:
        return self.call("DELETE", path)

    def send_picture(self, data: bytes, content_type: str | None = "image/png") -> TestResponse:
        return self.post("/v1/images", data=data, content_type=content_type)

    def image(self, data: bytes | None = None) -> str:
        """The id of an uploaded picture."""
        answer = self.send_picture(a_picture() if data is None else data)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json["id"])  # type: ignore[index]

    def body(self, **changes: Any) -> dict[str, Any]:
        """A submission that is right, but for the changes; `...` leaves a field out."""
        body = {"image": changes["image"] if "image" in changes else self.image(), "drags": [DRAG]}
        return {name: part for name, part in (body | changes).items() if part is not ...}

    def submit(self, **changes: Any) -> TestResponse:
        return self.post("/v1/jobs", json=self.body(**changes))

    def job(self, **changes: Any) -> dict[str, Any]:
        """A job that was accepted."""
        answer = self.submit(**changes)
        assert answer.status_code == 202, answer.text
        return answer.json  # type: ignore[return-value]

    def validate(self, **changes: Any) -> dict[str, Any]:
        answer = self.post("/v1/jobs/validate", json=self.body(**changes))
        assert answer.status_code == 200, answer.text
        return answer.json  # type: ignore[return-value]

    def announce(self, data: bytes, **changes: Any) -> TestResponse:
        body = {
            "content_type": "image/png",
            "size_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        return self.post("/v1/images/uploads", json=body | changes)


def caller_of(services: Services) -> Caller:
    """A new account's, of an app over services that are not the fixture's."""
    key = services.accounts.create_key(f"caller {time.monotonic_ns()}").text
    account_id = services.accounts.account_of(key)
    assert account_id is not None
    return Caller(create_app(services).test_client(), key, account_id)


def white(width: int, height: int) -> bytes:
    """A mask in which everything may change."""
    return encode(np.full((height, width, 3), 255, np.uint8), "png")


def local(url: str) -> str:
    """The path and query of a URL, for the test client."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def said(answer: TestResponse) -> set[tuple[str, str]]:
    """Every violation of a 422: its pointer and its code."""
    assert answer.status_code == 422, answer.text
    return {(entry["pointer"], entry["code"]) for entry in answer.json["errors"]}  # type: ignore[index]


def problems(answer: dict[str, Any]) -> set[tuple[str, str]]:
    """Every violation that a validation found."""
    assert answer["valid"] is not bool(answer["problems"])
    return {(entry["pointer"], entry["code"]) for entry in answer["problems"]}


def is_problem(answer: TestResponse, status: int, code: str) -> bool:
    """Whether an answer is the problem that was expected; says what it is if not."""
    found = (answer.status_code, answer.content_type, (answer.json or {}).get("code"))
    assert found == (status, "application/problem+json", code), answer.text
    return True


def until(happened: Callable[[], object], limit_s: float = 10) -> None:
    """Look again and again; the test fails when it does not happen."""
    deadline_s = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline_s, f"did not happen within {limit_s} s"
        time.sleep(0.01)

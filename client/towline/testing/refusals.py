"""What the fake says no with: the problems of the service."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx

Wrong = tuple[str, str, str]  #: pointer, code, detail

STATUS = {
    "malformed_request": 400,
    "unauthorized": 401,
    "url_refused": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "unsupported_image_type": 415,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "internal_error": 500,
    "database_unavailable": 503,
}
CONFLICTS = frozenset(
    {
        "image_in_use",
        "image_not_uploaded",
        "job_not_final",
        "batch_not_final",
        "nothing_to_retry",
        "endpoint_disabled",
    }
)
BY_STATUS = {429: "rate_limited", 500: "internal_error", 503: "database_unavailable"}


class Refusal(Exception):
    """A problem on its way to be an answer."""

    def __init__(self, code: str, detail: str, wrong: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.code, self.detail, self.wrong = code, detail, list(wrong)
        self.status = STATUS.get(code, 409 if code in CONFLICTS else 422)

    def response(self) -> httpx.Response:
        """As the service would say it."""
        return problem(self.status, self.code, self.detail, self.wrong)


def invalid(found: Iterable[Wrong]) -> Refusal:
    """422 for all that is wrong; its code is theirs, if they share one."""
    errors = [{"pointer": at, "code": code, "detail": detail} for at, code, detail in found]
    codes = {each["code"] for each in errors}
    code = codes.pop() if len(codes) == 1 else "invalid_request"
    said = "; ".join(f"{each['pointer'] or '/'}: {each['detail']}" for each in errors)
    refusal = Refusal(code, said, errors)
    refusal.status = 422
    return refusal


def problem(
    status: int,
    code: str,
    detail: str,
    errors: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """`application/problem+json`."""
    body: dict[str, Any] = {
        "type": f"https://towline.test/docs/errors#{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "fake",
    }
    if errors:
        body["errors"] = errors
    kind = {"Content-Type": "application/problem+json", "X-Request-Id": "fake"}
    return httpx.Response(status, headers={**kind, **(headers or {})}, content=json.dumps(body))

"""Errors as `application/problem+json` (RFC 9457). The codes are in `api/codes.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound as WrongAddress

from api.codes import CODES, PROBLEMS
from api.context import services
from shared.errors import (
    IdempotencyKeyInFlight,
    InsufficientScope,
    InvalidRequest,
    LimitExceeded,
    TowlineError,
    Unauthorized,
    Violation,
)
from shared.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1

_BY_STATUS = {
    400: "malformed_request",
    403: "url_refused",
    404: "not_found",
    405: "method_not_allowed",
    411: "length_required",
    413: "body_too_large",
    415: "unsupported_media_type",
}


#: Folders under `/v1` whose members have ids: the kind of id, and what it names.
_THINGS = {
    "images": ("img", "image"),
    "jobs": ("job", "job"),
    "batches": ("bat", "batch"),
    "webhook-endpoints": ("ep", "webhook endpoint"),
    "webhook-deliveries": ("dlv", "webhook delivery"),
}
LONGEST_SAID = 100  #: characters of a wrong id


def problem(
    code: str,
    detail: str,
    errors: Iterable[Violation] = (),
    headers: dict[str, str] | None = None,
    status: int | None = None,
) -> Response:
    """The answer for one of `CODES`; `status` if it is not the code's own."""
    status = status or CODES[code].status or 422
    body: dict[str, Any] = {
        "type": f"{services().settings.base_url}/docs/errors#{code}",
        "title": CODES[code].title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": g.get("request_id", ""),
    }
    if errors:
        body["errors"] = [violation_to_json(violation) for violation in errors]
    response = Response(json.dumps(body), status=status, content_type=PROBLEM_JSON)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    response.headers.update(headers or {})
    return response


def violation_to_json(violation: Violation) -> dict[str, Any]:
    """One entry of a problem's `errors`; with its line, if it is of a batch."""
    return {
        **({} if violation.line is None else {"line": violation.line}),
        "pointer": violation.pointer,
        "code": violation.code,
        "detail": violation.detail,
    }


def register_error_handlers(app: Flask) -> None:
    """Whatever is raised leaves as a problem; what nobody foresaw is logged with its trace."""
    app.register_error_handler(InvalidRequest, _invalid)
    app.register_error_handler(TowlineError, _towline)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def _invalid(error: InvalidRequest) -> Response:
    """All violations at once; the code is theirs if they share one."""
    codes = {violation.code for violation in error.violations}
    code = codes.pop() if len(codes) == 1 else "invalid_request"
    return problem(code, error.message, error.violations, status=422)


def _towline(error: TowlineError) -> Response:
    if error.code not in PROBLEMS:
        return _unforeseen(error)
    log.info("refused", code=error.code, error=error.message, cause=repr(error.__cause__))
    return problem(error.code, error.message, headers=_headers(error))


def _headers(error: TowlineError) -> dict[str, str]:
    """What the header of the answer has to say (RFC 6750, section 3; RFC 9110, 10.2.3)."""
    match error:
        case Unauthorized(is_about_the_key=True):
            return {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case InsufficientScope():
            challenge = f'Bearer error="insufficient_scope", scope="{error.scope}"'
            return {"WWW-Authenticate": challenge}
        case IdempotencyKeyInFlight():
            return {"Retry-After": str(RETRY_AFTER_S)}
        case LimitExceeded():
            return {"Retry-After": str(error.retry_after_s)}
    return {}


def _http(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        return error.get_response()  # type: ignore[return-value]
    code = _BY_STATUS.get(error.code, "malformed_request" if error.code < 500 else "internal_error")
    headers = {name: value for name, value in error.get_headers(request.environ) if name == "Allow"}
    is_unknown = isinstance(error, WrongAddress) and error.description == WrongAddress.description
    detail = _nothing_at(request.path) if is_unknown else error.description or ""
    return problem(code, detail, headers=headers)


def _nothing_at(path: str) -> str:
    """An id that has not the form of one is as absent as one that nothing has."""
    match path.split("/"):
        case ["", "v1", folder, text, *_] if folder in _THINGS:
            kind, name = _THINGS[folder]
            if text and not is_id(kind, text):
                return f"There is no {name} {text[:LONGEST_SAID]}."
    return "There is nothing at this address."


def _unforeseen(error: Exception) -> Response:
    log.error("unforeseen_error", exc_info=error)
    return problem("internal_error", "The request failed; its request_id is in the server's log.")

"""CORS (Fetch standard, 3.2) for the origins in `TOWLINE_CORS_ORIGINS`; nothing for others.

Keys travel in a header that scripts set themselves, so no credentials of the browser are asked for.
A preflight carries no key, and is answered before one is looked for.
"""

from __future__ import annotations

from flask import Flask, Response, request

from api.context import services

PATHS = ("/v1/", "/objects/")
ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, X-Request-Id"
)
EXPOSED_HEADERS = (
    "Idempotency-Replayed, Location, Preference-Applied, RateLimit, RateLimit-Policy,"
    " Retry-After, WWW-Authenticate, X-Request-Id"
)
MAX_AGE_S = 600


def register_cors(app: Flask) -> None:
    """Before everything that asks for a key."""
    app.before_request(_answer_preflight)
    app.after_request(_allow)


def _is_allowed() -> bool:
    allowed = services().settings.cors_origins
    return request.path.startswith(PATHS) and request.headers.get("Origin") in allowed


def _answer_preflight() -> Response | None:
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    if not _is_allowed():
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
    response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
    response.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
    return response


def _allow(response: Response) -> Response:
    if services().settings.cors_origins and request.path.startswith(PATHS):
        response.vary.add("Origin")
    if _is_allowed():
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    return response

"""Who is calling: a Bearer key (RFC 6750) on all of `/v1`, and a name for each request.

Refused in this order: no key or no good one (401), one without the scope (403), too many
requests (429). What the request changes is the key's, in the audit log.
"""

from __future__ import annotations

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, request

from api.context import services
from api.limits import count_request, tell_limits
from api.scopes import NEEDED, operation_of
from shared.audit.trail import Actor, act_as
from shared.errors import InsufficientScope, Unauthorized
from shared.telemetry.metrics import HTTP_SECONDS

log = structlog.get_logger()

#: Asked several times a second by proxies and whoever watches.
PROBES = {"/livez", "/readyz", "/metrics"}

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_BEARER = re.compile(r"Bearer +(\S+) *", re.IGNORECASE)
CHUNK_BYTES = 64 * 1024
HINT = "Send `Authorization: Bearer tow_...`"


def register_identification(app: Flask) -> None:
    """Name every request, and let only key holders in under `/v1`."""
    app.before_request(_name_request)
    app.before_request(_authorize)
    app.after_request(_finish)
    app.after_request(tell_limits)
    app.teardown_request(lambda _: act_as(None))  # threads serve one request after the other


def _name_request() -> None:
    """The caller's `X-Request-Id` if it is a sane token, else one of ours.

    Each line that is logged from now on has it, and the job's id if the address has one.
    """
    g.started = time.monotonic()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _SANE.fullmatch(given) else uuid.uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request=g.request_id)
    if job_id := (request.view_args or {}).get("job_id"):
        structlog.contextvars.bind_contextvars(job=job_id)


def _authorize() -> None:
    if not request.path.startswith("/v1/"):
        return
    match = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    if match is None:
        raise Unauthorized(f"{HINT}.", is_about_the_key=False)
    g.caller = caller = services().accounts.identify(match.group(1))
    count_request(caller)
    if request.endpoint is not None:
        needed = NEEDED[operation_of(request.endpoint)]
        if needed not in caller.key.scopes:
            raise InsufficientScope(needed)
    act_as(Actor("key", caller.key.id, g.request_id))


def _read_rest() -> None:
    """What was refused before its body was read: the connection is of no use until it is."""
    left = services().settings.max_image_bytes + CHUNK_BYTES
    if (request.content_length or 0) > left:
        return
    body = request.environ["wsgi.input"]
    try:
        while left > 0 and (chunk := body.read(CHUNK_BYTES)):
            left -= len(chunk)
    except OSError:  # the client has gone
        log.info("client_gone")


def _finish(response: Response) -> Response:
    _read_rest()
    response.headers["X-Request-Id"] = g.get("request_id", "")
    duration_s = time.monotonic() - g.get("started", time.monotonic())
    route = request.url_rule.rule if request.url_rule else ""
    HTTP_SECONDS.labels(request.method, route, response.status_code).observe(duration_s)
    tell = log.debug if request.path in PROBES and response.status_code < 400 else log.info
    tell(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        duration_ms=round(1000 * duration_s, 1),
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    return response

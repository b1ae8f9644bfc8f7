"""`/v1/jobs/{id}/events`: what happens to a job, as it happens."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from api.context import account_id, caller, context, services
from api.live import events_after, live, place_of
from api.openapi import LAST_EVENT_ID, event_stream, no_content, operation_id, problems
from api.schemas.jobs import JobPath

log = structlog.get_logger()

events = APIBlueprint(
    "events", __name__, url_prefix="/v1/jobs", abp_tags=[Tag(name="jobs")],
    abp_security=[{"key": []}], operation_id_callback=operation_id,
)  # fmt: skip


@events.get(
    "/<job:job_id>/events",
    responses={**event_stream(), **no_content(), **problems(404, 503)},
    openapi_extensions=LAST_EVENT_ID,
)
def follow_job(path: JobPath) -> Any:
    """Follow a job: server-sent events `status`, `progress` and `candidate`, until it has ended.

    Everything that happened is told first; with `Last-Event-ID`, what happened since. 204: there
    is nothing more to tell, do not come back. A stream that ends before a final status was cut
    off (the server restarts, an hour is over): come back with the last id. One whose key was
    revoked or has expired ends too, and the next request is answered 401.
    """
    at, history = context(), services().histories.get(account_id(), path.job_id)
    place = place_of(request.headers.get("Last-Event-ID"), history)
    if history.job.status.is_final:
        past = b"".join(event.encode() for event in events_after(history, place, at))
        return _stream(past) if past else Response(status=204)
    follower = at.feeds.follow(history, caller().key.id)
    response = _stream(live(follower, place, at, request.environ.get("gunicorn.socket")))

    @response.call_on_close
    def leave() -> None:
        at.feeds.leave(follower)
        log.info("stream_ended", job=follower.job_id, was_dismissed=follower.is_dismissed)

    return response


def _stream(body: Any) -> Response:
    """Not to be kept by anybody, nor held back by a proxy."""
    response = Response(body, content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response

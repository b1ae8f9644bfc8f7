"""A span for each request of the API; looks at the process itself (`/readyz`, ...) have none."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, request

from shared.telemetry.tracing import is_tracing, span, this_span

TRACED = ("/v1/", "/objects/")
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
#: Ids that an address has in it, and how they are called in traces.
IDS = ("job_id", "batch_id", "image_id", "endpoint_id", "delivery_id")


def register_tracing(app: Flask) -> None:
    """Trace what the app answers, if this process traces."""
    if is_tracing():
        app.wsgi_app = _traced(app.wsgi_app)  # type: ignore[method-assign]
        app.after_request(_note_answer)


def _traced(app: Any) -> Any:
    """The same; from the request's head to the answer's, which of a stream is its begin."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        if not environ["PATH_INFO"].startswith(TRACED):
            return app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        method = method if method in METHODS else "_OTHER"
        with span(
            method,
            kind="server",
            parent=environ.get("HTTP_TRACEPARENT"),
            **{"http.request.method": method, "url.scheme": environ["wsgi.url_scheme"]},
        ):
            return app(environ, start_response)

    return answer


def _note_answer(response: Response) -> Response:
    """Never the URL: its query may be a signature."""
    own, route = this_span(), request.url_rule.rule if request.url_rule else None
    if route is not None:
        own.rename(f"{request.method} {route}")
    ids = {name: (request.view_args or {}).get(name) for name in IDS}
    own.note(
        request_id=g.get("request_id"),
        account_id=g.caller.account_id if "caller" in g else None,
        **{"http.route": route, "http.response.status_code": response.status_code, **ids},
    )
    if response.status_code >= 500:
        own.fail(str(response.status_code))
    return response

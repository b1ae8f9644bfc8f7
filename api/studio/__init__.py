"""`/studio`: a page to drag pictures with the mouse, which calls the HTTP API and nothing else.

It is plain files, served as they are: no build, no inline script, nothing from another host.
The key comes in the URL's fragment, which no browser sends, so no log can hold it.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import PurePosixPath

from flask import Blueprint, Response, send_from_directory
from werkzeug.exceptions import NotFound

studio = Blueprint("studio", __name__)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Spelled out, since a system's own table of types may name others, and `nosniff` obeys them.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}


@studio.get("/studio", strict_slashes=False)
def page() -> Response:
    """The page."""
    return _file("index.html")


@studio.get("/studio/<path:name>")
def asset(name: str) -> Response:
    """What the page loads."""
    return _file(name)


def _file(name: str) -> Response:
    content_type = CONTENT_TYPES.get(PurePosixPath(name).suffix)
    if content_type is None:
        raise NotFound
    with as_file(files("api.studio") / "static") as folder:
        response = send_from_directory(folder, name)
    response.headers["Content-Type"] = content_type
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response

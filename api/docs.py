"""`/docs`: Swagger UI over `/openapi.json`, from files that come with a package: no other host."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import as_file, files
from typing import Any

from flask import Blueprint, Response, current_app, redirect, send_from_directory

from api.codes import CODES, Code
from api.openapi import document

docs = Blueprint("docs", __name__)

PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Towline API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/docs/assets/css/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="/docs/assets/js/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
});
"""
ERRORS_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Towline: errors</title>
  <link rel="icon" href="data:,">
  <style>
    body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto }
    body { padding: 0 1rem }
    h2 { font-size: 1.1rem; margin: 2rem 0 0 } p { margin: .25rem 0 }
    :target { background: #fff3bf }
  </style>
</head>
<body>
  <p><a href="/docs">Towline API</a></p>
  <h1>Errors</h1>
  <p>Every error is <code>application/problem+json</code> (RFC 9457). Its <code>code</code> is one
  of these, and so is the code of each entry in <code>errors</code>, and of a job's
  <code>error</code>.</p>
  {sections}
</body>
</html>
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@docs.get("/")
def home() -> Any:
    """Somebody opened the service in a browser."""
    return redirect("/docs")


@docs.get("/docs")
def page() -> Any:
    """The page."""
    return _asset(PAGE, "text/html; charset=utf-8")


@docs.get("/docs/start.js")
def start() -> Any:
    """What starts it."""
    return _asset(START, "text/javascript; charset=utf-8")


@docs.get("/docs/assets/<path:name>")
def asset(name: str) -> Any:
    """Swagger UI's own files."""
    with as_file(files("flask_openapi3_swagger") / "templates" / "swagger") as folder:
        return send_from_directory(folder, name, max_age=86_400)


@docs.get("/docs/errors")
def errors() -> Any:
    """Every code: a problem's `type` points here."""
    sections = "".join(
        f'<h2 id="{name}"><code>{name}</code></h2>'
        f"<p><b>{escape(code.title)}</b>{_status(code)}</p><p>{_paragraph(code)}</p>"
        for name, code in sorted(CODES.items())
    )
    return _asset(ERRORS_PAGE.replace("{sections}", sections), "text/html; charset=utf-8")


def _status(code: Code) -> str:
    return f" ({code.status})" if code.status else " (a job's <code>error</code>)"


def _paragraph(code: Code) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(code.paragraph))


@docs.get("/openapi.json")
def openapi() -> Any:
    """The OpenAPI 3.1 document of what is served here."""
    return document(current_app)  # type: ignore[arg-type]


def _asset(text: str, content_type: str) -> Response:
    response = Response(text, content_type=content_type)
    response.headers["Content-Security-Policy"] = POLICY
    return response

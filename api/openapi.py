"""The served OpenAPI document: flask-openapi3's, with what it leaves out or gets wrong mended.

Mended: its own answer to a bad body (ours is a problem), `null` where a part is absent,
the bodies that are no JSON, the `Prefer` header, `/objects` is left out on purpose: its
URLs come signed, ready to use.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from flask_openapi3 import Info, OpenAPI
from pydantic.json_schema import models_json_schema

import api.schemas
import shared.submission.body
from api.idempotency import HEADER, KEY_PATTERN, MAX_CHARACTERS, REPLAYED
from api.problems import PROBLEM_JSON
from api.scopes import NEEDED
from shared import __version__

TITLE = "Towline"
DESCRIPTION = """\
A job queue for drag-based image editing: upload a picture, say what to drag where, get a
picture back. Every error is `application/problem+json` with a stable `code`: see
[all of them](/docs/errors).
"""
SECURITY: dict[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "`tow_<id>_<secret>`, made with `python -m api key create`",
    }
}
ALWAYS = (400, 401, 403, 429, 500)  #: what every operation under /v1 may answer
PREFER = {"x-prefer": True}  #: the operation takes the `Prefer` header
LAST_EVENT_ID = {"x-last-event-id": True}  #: the operation takes the `Last-Event-ID` header
#: The kinds of events, and what describes the data of each.
EVENTS = {
    "status": "StatusEventOut",
    "progress": "ProgressEventOut",
    "candidate": "CandidateEventOut",
}
LINES = ("ItemOut", "BatchBody")  #: what answers and bodies have line by line, or beside lines
_DESCRIPTIONS = {
    400: "The request cannot be read",
    401: "No valid API key",
    403: "The key has not the scope",
    404: "There is no such thing, or it is not yours",
    409: "Its state forbids it now",
    410: "What the key made was deleted",
    411: "No Content-Length",
    413: "Too large",
    415: "Not a type that is taken",
    422: "Not valid; `errors` has every violation",
    429: "A limit of the account; `Retry-After` says when to come back",
    500: "Nobody foresaw it; the log has it under the request's id",
    503: "A server that is needed does not answer; try again",
}


def problems(*statuses: int) -> dict[int | str, Any]:
    """Responses of an operation that may fail in these ways, and those that all share."""
    return {status: _problem(status) for status in sorted({*statuses, *ALWAYS})}


def operation_id(*, name: str, **_: str) -> str:
    """What generated clients call an operation: as its function is called here."""
    return name


def no_content() -> dict[int | str, Any]:
    """204."""
    return {204: {"description": "Done"}}


def plain_text() -> dict[int | str, Any]:
    """200, as text."""
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {200: {"description": "As text", "content": content}}


def event_stream() -> dict[int | str, Any]:
    """200, as server-sent events; before OpenAPI 3.2 the schema is that of each of them."""
    payloads = [{"$ref": f"#/components/schemas/{name}"} for name in EVENTS.values()]
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": payloads},
    }
    text, event = {"type": "string"}, {"enum": list(EVENTS)}
    schema = {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {"id": text, "event": event, "data": data},
    }
    content = {"text/event-stream": {"schema": schema}}
    return {200: {"description": "The events, one after the other", "content": content}}


def lines(name: str) -> dict[int | str, Any]:
    """200, as JSONL; before OpenAPI 3.2 the schema is that of each line."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    content = {"application/jsonl": {"schema": schema}}
    return {200: {"description": "A JSON object a line", "content": content}}


def zip_archive() -> dict[int | str, Any]:
    """200, as a ZIP."""
    schema = {"type": "string", "contentMediaType": "application/zip"}
    return {200: {"description": "A ZIP", "content": {"application/zip": {"schema": schema}}}}


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": _DESCRIPTIONS[status],
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
    }


def make_app(import_name: str) -> OpenAPI:
    """An app without routes, whose document will be complete."""
    return OpenAPI(
        import_name,
        info=Info(title=TITLE, version=__version__, description=DESCRIPTION),
        security_schemes=SECURITY,
        doc_ui=False,
        static_folder=None,
    )


def document(app: OpenAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of everything that is served."""
    spec: dict[str, Any] = app.api_doc
    named = {*spec["components"]["schemas"], "ProblemOut", *LINES, *EVENTS.values()}
    spec["components"]["schemas"] = _schemas(named)
    views = app.view_functions.values()
    keyed = {view.__name__ for view in views if hasattr(view, "is_idempotent")}
    for operations in spec["paths"].values():
        for operation in operations.values():
            _mend(operation)
            if operation["operationId"] in keyed:
                _add_key(operation)
    cleaned: dict[str, Any] = _without_nulls(spec)
    return cleaned


def _schemas(names: set[str]) -> dict[str, Any]:
    """The models of `api/schemas` as pydantic writes them: flask-openapi3 drops keywords."""
    rooms = [
        import_module(room.name) for room in iter_modules(api.schemas.__path__, "api.schemas.")
    ]
    rooms.append(shared.submission.body)
    ours = {name: model for room in rooms for name, model in vars(room).items()}
    models = [ours[name] for name in sorted(names & ours.keys())]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _mend(operation: dict[str, Any]) -> None:
    """One operation. A summary is plain text, unlike a description."""
    operation["summary"] = operation["summary"].replace("`", "")
    unprocessable = operation["responses"].get("422", {})
    if "application/json" in unprocessable.get("content", {}):
        del operation["responses"]["422"]
    if operation.get("security"):  # OpenAPI 3.1 has roles for keys, too
        operation["security"] = [{"key": [NEEDED[operation["operationId"]].value]}]
    if operation.pop("x-prefer", False):
        operation.setdefault("parameters", []).append(_PREFER_PARAMETER)
    if operation.pop("x-last-event-id", False):
        operation.setdefault("parameters", []).append(_LAST_EVENT_ID_PARAMETER)
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, body in content.items():
        if media_type == "application/jsonl":
            body["schema"] = {"type": "string", "contentMediaType": media_type}
        elif media_type == "application/json" and operation["operationId"] == "create_batch":
            body["schema"] = {"$ref": "#/components/schemas/BatchBody"}
        elif media_type.startswith("image/"):
            body["schema"] = {"type": "string", "contentMediaType": media_type}
        elif media_type == "multipart/form-data":
            body["schema"] = {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "contentMediaType": "application/octet-stream"}
                },
            }


def _add_key(operation: dict[str, Any]) -> None:
    """The key, what it may be refused with, and the sign of a replay."""
    parameters = operation.setdefault("parameters", [])
    if _KEY_PARAMETER not in parameters:  # flask-openapi3 keeps the operation for the next time
        parameters.append(_KEY_PARAMETER)
    for status in (409, 410, 422):
        operation["responses"].setdefault(str(status), _problem(status))
    for status, response in operation["responses"].items():
        if status < "300":
            response["headers"] = {REPLAYED: _REPLAYED_HEADER}


_KEY_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "The same key with the same request gives what was made, for 24 hours, and"
    " makes nothing. 1 to 255 visible ASCII characters, best a UUID, bare or in double quotes",
    "schema": {"type": "string", "maxLength": MAX_CHARACTERS, "pattern": KEY_PATTERN},
}
_REPLAYED_HEADER = {
    "description": "There, and `true`, when the request was answered before",
    "schema": {"const": "true"},
}
_LAST_EVENT_ID_PARAMETER = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The `id` of the last event that was received; what came after it follows",
    "schema": {"type": "string"},
}
_PREFER_PARAMETER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N`: hold the answer until the job has ended, at most N seconds (60)",
    "schema": {"type": "string", "examples": ["wait=30"]},
}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_nulls(part)
            for key, part in value.items()
            if part is not None or key == "default"
        }
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value

"""`/objects/...`: what signed URLs open, when clients do not reach the object storage itself."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, Forbidden, LengthRequired

from api.context import context, services
from shared.errors import UploadMismatch

objects = Blueprint("objects", __name__, url_prefix="/objects")

_TYPES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"RIFF", "image/webp"),
)


@objects.get("/<path:key>")
def get_object(key: str) -> Any:
    """The bytes. They are pictures, served so that no browser takes them for anything else."""
    _check_signature("GET", key, None)
    data = services().objects.get(key)
    content_type = next(
        (name for magic, name in _TYPES if data.startswith(magic)), "application/octet-stream"
    )
    response = Response(data, content_type=content_type)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Cache-Control"] = "private, max-age=300"
    return response


@objects.put("/<path:key>")
def put_object(key: str) -> Any:
    """Bytes of the announced size, into their staging place; looked at by `complete`."""
    size_bytes = request.args.get("size", type=int)
    _check_signature("PUT", key, size_bytes)
    if request.content_length is None:
        raise LengthRequired("Send a Content-Length.")
    if request.content_length != size_bytes:
        raise UploadMismatch(
            f"{size_bytes} bytes were announced for this URL, not {request.content_length}."
        )
    data = request.get_data(cache=False)
    if len(data) != size_bytes:
        raise BadRequest("The body ended before all of it had come.")
    if _is_awaited(key):
        services().objects.put(key, data)
    return Response(status=200)


def _is_awaited(key: str) -> bool:
    """Whether these bytes are still to come: what is complete needs no second copy."""
    _, account_id, image_id = key.split("/")
    return services().images.get(account_id, image_id).object_key is None


def _check_signature(method: str, key: str, size_bytes: int | None) -> None:
    expires = request.args.get("expires", default=0, type=int)
    signature = request.args.get("signature", "")
    if not context().signer.accepts(method, key, expires, size_bytes, signature):
        raise Forbidden("The URL was not signed here, or its time is over; ask for it again.")

"""`/v1/images`: pictures and masks, sent through the API or put straight into object storage."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any, cast

from flask import g, request
from flask_openapi3 import APIBlueprint, RawModel, Tag
from werkzeug.exceptions import RequestEntityTooLarge

from api.context import account_id, context, services
from api.idempotency import completed, completion, idempotent, json_digest
from api.openapi import operation_id, problems
from api.removal import remove_objects
from api.rendering import render_image
from api.schemas.base import DeletedOut
from api.schemas.images import ImageOut, ImagePath, UploadBody, UploadOut
from api.strict_json import StrictRequest
from shared.errors import (
    IdempotencyKeyInFlight,
    ImageNotUploaded,
    ImageTooLarge,
    InvalidRequest,
    NotFound,
    StorageFull,
    UploadMismatch,
    Violation,
)
from shared.ids import new_id
from shared.images.store import Facts, Image
from shared.imaging import inspect
from shared.objects import image_key, staging_key
from shared.submission.json_text import json_pointer
from shared.times import rfc3339

MULTIPART_SLACK_BYTES = 64 * 1024  #: what a form may hold beside the file

images = APIBlueprint(
    "images", __name__, url_prefix="/v1/images", abp_tags=[Tag(name="images")],
    abp_security=[{"key": []}], operation_id_callback=operation_id,
)  # fmt: skip


class PictureBody(RawModel):
    """The bytes of a picture, or a form with the field `file`."""

    mimetypes = ["image/png", "image/jpeg", "image/webp", "multipart/form-data"]


def _image_again(image_id: str, status: int) -> Any:
    return render_image(services().images.get(account_id(), image_id), context()), status


def _picture_digest() -> bytes:
    return bytes.fromhex(_upload().sha256)


@images.post("", responses={200: ImageOut, 201: ImageOut, **problems(413, 415, 422, 503)})
@idempotent(replay=_image_again, digest=_picture_digest)
def upload_image(raw: PictureBody) -> Any:
    """Upload a picture or a mask: 201, or 200 when the account has the same bytes already."""
    image, is_new = keep_picture(_upload(), account_id())
    return render_image(image, context()), 201 if is_new else 200


def _announced_again(image_id: str, status: int) -> Any:
    return _announced(services().images.get(account_id(), image_id)), status


@images.post("/uploads", responses={200: UploadOut, 201: UploadOut, **problems(413, 415, 422, 503)})
@idempotent(replay=_announced_again, digest=json_digest)
def announce_upload(body: UploadBody) -> Any:
    """Ask for a URL to PUT a picture to; 200 when the account has or expects these bytes."""
    limit = services().settings.max_image_bytes
    if body.size_bytes > limit:
        raise ImageTooLarge(f"A picture has at most {limit} bytes.")
    image, is_new = services().images.announce(
        account_id(), **body.model_dump(), completion=completion(201, 200)
    )
    return _announced(image), 201 if is_new else 200


def _announced(image: Image) -> dict[str, Any]:
    settings = services().settings
    key = staging_key(image.account_id, image.id)
    signed = context().urls.upload(key, settings.upload_ttl_s, image.size_bytes, image.content_type)
    expires_at = rfc3339(int((time.time() + settings.upload_ttl_s) * 1000))
    upload = {
        "method": "PUT",
        "url": signed.url,
        "headers": dict(signed.headers),
        "expires_at": expires_at,
    }
    return {"id": image.id, "upload": upload}


@images.post(
    "/<image:image_id>/complete",
    responses={200: ImageOut, **problems(404, 409, 413, 415, 422, 503)},
)
def complete_upload(path: ImagePath) -> Any:
    """Check the bytes that were put, and make them the image. Safe to repeat."""
    image = services().images.get(account_id(), path.image_id)
    if image.object_key is None:
        image = _complete(image)
    return render_image(image, context())


@images.get("/<image:image_id>", responses={200: ImageOut, **problems(404, 409, 503)})
def get_image(path: ImagePath) -> Any:
    """An image, with a short-lived URL of its bytes."""
    image = services().images.get(account_id(), path.image_id)
    if image.object_key is None:
        raise ImageNotUploaded(f"The bytes of {image.id} were not completed.")
    return render_image(image, context())


@images.delete("/<image:image_id>", responses={200: DeletedOut, **problems(404, 409, 503)})
def delete_image(path: ImagePath) -> Any:
    """Delete an image and its bytes, and say so; not while a job that has not ended needs it."""
    image = services().images.delete(account_id(), path.image_id)
    key = image.object_key or staging_key(image.account_id, image.id)
    return remove_objects(image.id, key, image.size_bytes)


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes of a picture, hashed once."""

    data: bytes
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Upload:
        """Whatever the bytes are."""
        return cls(data, hashlib.sha256(data).hexdigest())


def keep_picture(upload: Upload, account: str) -> tuple[Image, bool]:
    """Decode in full, store, then record: a row never points to bytes that are not there."""
    known = services().images.find(account, upload.sha256)
    if known is not None and known.object_key is not None:
        _restore(known.object_key, upload.data)
        completed(known.id, 200)
        return known, False
    if known is None:
        services().images.require_room(account, len(upload.data))
    image_id = known.id if known is not None else new_id("img")
    facts = _inspect(upload)
    key = image_key(account, upload.sha256, image_id)
    services().objects.put(key, upload.data)
    try:
        image, is_new = services().images.add(
            account, image_id, key, facts, completion=completion(201, 200)
        )
    except (IdempotencyKeyInFlight, StorageFull):  # a rival makes it, or took the room
        services().objects.delete(key)
        raise
    if image.object_key != key:  # a rival stored the same bytes first
        services().objects.delete(key)
    return image, is_new


def _inspect(upload: Upload) -> Facts:
    settings, data = services().settings, upload.data
    with context().decoding:
        found = inspect(
            data, max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels
        )
    return Facts(
        upload.sha256, found.content_type, len(data), found.width, found.height, found.has_alpha
    )


def _restore(key: str, data: bytes) -> None:
    """Bytes that the object storage has lost come back with the next upload."""
    try:
        services().objects.size(key)
    except NotFound:
        services().objects.put(key, data)


def _complete(image: Image) -> Image:
    key = staging_key(image.account_id, image.id)
    try:
        found_bytes = services().objects.size(key)  # never into memory what may be of any size
        if found_bytes != image.size_bytes:
            raise UploadMismatch(
                f"{image.size_bytes} bytes were announced, {found_bytes} bytes were put."
            )
        upload = Upload.of(services().objects.get(key))
    except NotFound:
        now = services().images.get(image.account_id, image.id)
        if now.object_key is not None:  # another call completed it meanwhile
            return now
        raise ImageNotUploaded(f"PUT the bytes of {image.id} to its upload URL first.") from None
    if upload.sha256 != image.sha256:
        raise UploadMismatch(
            f"Bytes with sha256 {image.sha256} were announced, others of the same size were put."
        )
    kept, _ = keep_picture(upload, image.account_id)
    services().objects.delete(key)
    return kept


def _upload() -> Upload:
    """What came with this request, read once."""
    if "upload" not in g:
        g.upload = Upload.of(_uploaded_bytes())
    upload: Upload = g.upload
    return upload


def _uploaded_bytes() -> bytes:
    """The body itself, whatever its header says, or the form's one `file`; within the limit."""
    limit = services().settings.max_image_bytes
    try:
        if request.mimetype != "multipart/form-data":
            return cast("StrictRequest", request).get_limited(limit)
        request.max_content_length = limit + MULTIPART_SLACK_BYTES
        return _file_of_form()
    except RequestEntityTooLarge:
        raise ImageTooLarge(f"A picture has at most {limit} bytes.") from None


def _file_of_form() -> bytes:
    files = request.files.getlist("file")
    found = [
        Violation(json_pointer([name]), "unknown_field", "the form has the field `file` alone")
        for name in sorted({*request.form, *request.files} - {"file"})
    ]
    if not files:
        found.append(Violation("/file", "missing_field", "the form has no file `file`"))
    if len(files) > 1:
        found.append(Violation("/file", "conflicting_fields", "one picture at a time"))
    if found:
        raise InvalidRequest(found)
    return files[0].stream.read()

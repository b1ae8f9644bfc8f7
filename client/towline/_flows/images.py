"""Images: uploaded by whichever way suits their size, and not at all where they are already.

    up to 64 KiB    POST /v1/images: to ask first would take as long
    up to 1 MiB     asked for by sha256, then POST /v1/images
    above           asked for by sha256, then PUT to the signed URL, then `complete`

Announcing bytes that the account has is how one asks for them: 200, and the image can be got.
It keeps the image for as long again, as an upload would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from towline._core.calling import call, json_of, model
from towline._core.context import Ask, Context, address, posting
from towline._core.decoding import decode
from towline._core.effects import Flow, work
from towline._core.payloads import Source, let_go, payload_of, sha256_of
from towline._core.pictures import content_type_of
from towline._failures import APIError
from towline._flows import things
from towline._flows.transfers import put
from towline.models import Deleted, Image, Model

if TYPE_CHECKING:
    from towline._core.effects import Answer, Payload

SENT_UNASKED_BYTES = 64 * 1024
SENT_DIRECTLY_BYTES = 2**20  #: above: straight into object storage
DECODED_S = 40.0  #: what a large picture takes the service, beyond the usual
PUTS = 3  #: how often bytes are put before it is given up
AGAIN = frozenset({"upload_mismatch", "image_not_uploaded", "not_found"})


@dataclass(frozen=True, kw_only=True)
class _Target(Model):
    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Announced(Model):
    id: str
    upload: _Target


@dataclass(frozen=True, slots=True)
class _Picture:
    payload: Payload
    content_type: str
    sha256: str


def get(context: Context, image: Any, *, timeout_s: float | None) -> Flow[Image]:
    """An image."""
    return (yield from things.get(context, "images", image, Image, timeout_s=timeout_s))


def delete(context: Context, image: Any, *, timeout_s: float | None) -> Flow[Deleted]:
    """What went."""
    return (yield from things.delete(context, "images", image, timeout_s=timeout_s))


def upload(context: Context, source: Source, *, timeout_s: float | None) -> Flow[Image]:
    """The image of these bytes. No step needs an `Idempotency-Key`: bytes are one image."""
    deadline = context.transfer_deadline(timeout_s)
    payload = yield from work(lambda: payload_of(source))
    try:
        return (yield from _upload(context, payload, deadline))
    finally:
        let_go(payload)


def _upload(context: Context, payload: Payload, deadline: float) -> Flow[Image]:
    head = yield from work(lambda: next(payload.chunks(), b"")[:16])
    content_type = content_type_of(head)
    if payload.size_bytes <= SENT_UNASKED_BYTES or content_type is None:
        kind = content_type or "application/octet-stream"  # the service says what it thinks of it
        return (yield from _send(context, payload, kind, deadline))
    picture = _Picture(payload, content_type, (yield from work(lambda: sha256_of(payload))))
    announced = yield from _announce(context, picture, deadline)
    if isinstance(announced, Image):
        return announced
    if payload.size_bytes <= SENT_DIRECTLY_BYTES:
        return (yield from _send(context, payload, content_type, deadline))
    return (yield from _put(context, picture, announced, deadline))


def _send(context: Context, payload: Payload, content_type: str, deadline: float) -> Flow[Image]:
    headers = {"Content-Type": content_type}
    path = address("images")
    ask = Ask(
        method="POST",
        path=path,
        headers=headers,
        body=payload,
        wait_s=DECODED_S,
        deadline=deadline,
    )
    return (yield from call(context, ask, model(Image)))


def _announce(context: Context, picture: _Picture, deadline: float) -> Flow[Image | _Announced]:
    """The image if its bytes are there, else where to put them."""
    body = {
        "content_type": picture.content_type,
        "size_bytes": picture.payload.size_bytes,
        "sha256": picture.sha256,
    }
    ask = posting(address("images", "uploads"), body, is_keyed=False)
    announced, is_known = yield from call(context, replace(ask, deadline=deadline), _announced)
    if not is_known:
        return announced
    try:  # the account has or awaits these bytes
        ask = Ask(method="GET", path=address("images", announced.id), deadline=deadline)
        return (yield from call(context, ask, model(Image)))
    except APIError as error:
        if error.code not in ("image_not_uploaded", "not_found"):
            raise
        return announced


def _announced(answer: Answer) -> tuple[_Announced, bool]:
    return decode(_Announced, json_of(answer)), answer.status == 200


def _put(
    context: Context, picture: _Picture, announced: _Announced, deadline: float
) -> Flow[Image]:
    """Through the signed URL; a fresh one when it was too old, or the bytes were lost."""
    for left in reversed(range(PUTS)):
        try:
            target = announced.upload
            yield from put(context, target.url, target.headers, picture.payload, deadline)
            path = address("images", announced.id, "complete")
            ask = Ask(method="POST", path=path, wait_s=DECODED_S, deadline=deadline)
            return (yield from call(context, ask, model(Image)))
        except APIError as error:
            if not left or not (error.status == 403 or error.code in AGAIN):
                raise
        found = yield from _announce(context, picture, deadline)
        if isinstance(found, Image):
            return found
        announced = found
    raise AssertionError("the last try returns or raises")

"""What callers say: drags, masks, options, webhooks; and how it is written for the service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from towline._core.context import id_of
from towline.models import Image

Point: TypeAlias = tuple[float, float] | Sequence[float]


@dataclass(frozen=True, slots=True)
class Drag:
    """What lies under `handle` is moved to `target`; (x, y) in pixels of the upright picture."""

    handle: Point
    target: Point


DragLike: TypeAlias = Drag | Mapping[str, Any] | tuple[Point, Point] | Sequence[Point]


class RectMask(TypedDict):
    """What may change: x0 <= x < x1, y0 <= y < y1."""

    rect: Sequence[float]


class PolygonMask(TypedDict):
    """What may change: all that the outline holds."""

    polygon: Sequence[Sequence[float]]


#: A picture (white may change), a shape, or None: one is made around the drags.
MaskLike: TypeAlias = Image | str | RectMask | PolygonMask | Mapping[str, Any] | None


class Options(TypedDict, total=False):
    """Options of an edit; `client.engines.list()` tells which engine has which, and its ranges."""

    candidates: int
    seed: int
    steps: int
    guidance: float
    guidance_decay: Literal["none", "linear", "inv_square"] | str
    split_px: float
    quality: Literal["full", "preview"]
    strict: bool
    output: Literal["composite", "canvas"]
    format: Literal["png", "webp", "jpeg"]
    cache: bool


Priority: TypeAlias = Literal["low", "normal", "high"]
#: A URL that is told everything, or `{"url": ..., "events": [...]}`.
WebhookLike: TypeAlias = str | Mapping[str, Any]


def edit(
    image: Image | str,
    drags: Iterable[DragLike] | None = None,
    *,
    rounds: Iterable[Iterable[DragLike]] | None = None,
    mask: MaskLike = None,
    engine: str | None = None,
    options: Options | Mapping[str, Any] | None = None,
    priority: Priority | None = None,
    expires_in_s: int | None = None,
    timeout_s: int | None = None,
    webhook: WebhookLike | None = None,
    metadata: Mapping[str, str] | None = None,
    custom_id: str | None = None,
) -> dict[str, Any]:
    """The JSON of one edit: what `jobs.create` sends, and a line of a batch (with `custom_id`)."""
    body = {
        "custom_id": custom_id,
        "image": id_of(image),
        "mask": _mask(mask),
        "drags": None if drags is None else [_drag(each) for each in drags],
        "rounds": None if rounds is None else [[_drag(each) for each in some] for some in rounds],
        "engine": engine,
        "options": dict(options) if options else None,
        "priority": priority,
        "expires_in_s": expires_in_s,
        "timeout_s": timeout_s,
        "webhook": webhook_json(webhook),
        "metadata": dict(metadata) if metadata else None,
    }
    return {name: value for name, value in body.items() if value is not None}


def webhook_json(webhook: WebhookLike | None) -> dict[str, Any] | None:
    """As the service has it."""
    if webhook is None:
        return None
    return {"url": webhook} if isinstance(webhook, str) else dict(webhook)


def _mask(mask: MaskLike) -> Any:
    return dict(mask) if isinstance(mask, Mapping) else None if mask is None else id_of(mask)


def _drag(drag: DragLike) -> dict[str, Any]:
    if isinstance(drag, Mapping):
        return dict(drag)
    handle, target = (drag.handle, drag.target) if isinstance(drag, Drag) else drag
    return {"handle": list(handle), "target": list(target)}

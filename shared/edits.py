"""The edit that a caller asks for, as plain values, and what is wrong with it. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from shared.errors import Violation

MAX_DRAGS = 64  #: of one round
MAX_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """Pixels of the oriented picture: x right, y down, (0, 0) the centre of the top-left one."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Drag:
    """What lies under `handle` is moved to `target`."""

    handle: Point
    target: Point


@dataclass(frozen=True, slots=True)
class MaskImage:
    """The mask is an uploaded picture: white may change."""

    id: str


@dataclass(frozen=True, slots=True)
class MaskRect:
    """The mask is the pixels with x0 <= x < x1 and y0 <= y < y1."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class MaskPolygon:
    """The mask is what a closed outline of at least three points holds."""

    points: tuple[Point, ...]


MaskSpec = MaskImage | MaskRect | MaskPolygon | None


class Priority(IntEnum):
    """Which of an account's own jobs go first: the smaller number."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


Located = tuple[str, Drag]  #: a drag, and the JSON pointer to it


@dataclass(frozen=True, slots=True)
class JobWebhook:
    """Who else is to be told how the job ended: a URL, and filters of event types."""

    url: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as it was understood: defaults filled in, ready to be run at any time.

    `is_single` says that the caller wrote `drags` and not `rounds`.
    """

    image: str
    mask: MaskSpec
    rounds: tuple[tuple[Drag, ...], ...]
    engine: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_single: bool = True
    priority: Priority = Priority.NORMAL
    expires_in_s: int | None = None
    timeout_s: int = 300
    webhook: JobWebhook | None = None

    @property
    def mask_image(self) -> str | None:
        """The id of the uploaded mask, if there is one."""
        return self.mask.id if isinstance(self.mask, MaskImage) else None

    def to_json(self) -> dict[str, Any]:
        """The form that is stored, and shown as the job's `request`."""
        rounds = [[_drag_to_json(drag) for drag in drags] for drags in self.rounds]
        return {
            "image": self.image,
            "mask": _mask_to_json(self.mask),
            **({"drags": rounds[0]} if self.is_single else {"rounds": rounds}),
            "engine": self.engine,
            "options": dict(self.options),
            "priority": self.priority.name.lower(),
            "expires_in_s": self.expires_in_s,
            "timeout_s": self.timeout_s,
            "webhook": _webhook_to_json(self.webhook),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> JobSpec:
        """Read what `to_json` wrote."""
        is_single = "drags" in value
        rounds = [value["drags"]] if is_single else value["rounds"]
        return cls(
            image=value["image"],
            mask=mask_from_json(value["mask"]),
            rounds=tuple(tuple(drag_from_json(drag) for drag in drags) for drags in rounds),
            engine=value["engine"],
            options=value["options"],
            is_single=is_single,
            priority=Priority[value["priority"].upper()],
            expires_in_s=value["expires_in_s"],
            timeout_s=value["timeout_s"],
            webhook=_webhook_from_json(value.get("webhook")),  # older rows have none
        )


def drag_from_json(value: Mapping[str, Any]) -> Drag:
    """`{"handle": [x, y], "target": [x, y]}` as a value."""
    return Drag(handle=Point(*value["handle"]), target=Point(*value["target"]))


def mask_from_json(value: Any) -> MaskSpec:
    """An image's id, `{"rect": ...}`, `{"polygon": ...}` or None as a value."""
    if value is None:
        return None
    if isinstance(value, str):
        return MaskImage(value)
    if "rect" in value:
        return MaskRect(*value["rect"])
    return MaskPolygon(tuple(Point(*point) for point in value["polygon"]))


def _drag_to_json(drag: Drag) -> dict[str, Any]:
    return {
        "handle": [drag.handle.x, drag.handle.y],
        "target": [drag.target.x, drag.target.y],
    }


def _mask_to_json(mask: MaskSpec) -> Any:
    match mask:
        case None:
            return None
        case MaskImage(id=image):
            return image
        case MaskRect():
            return {"rect": [mask.x0, mask.y0, mask.x1, mask.y1]}
        case MaskPolygon():
            return {"polygon": [[point.x, point.y] for point in mask.points]}


def _webhook_to_json(webhook: JobWebhook | None) -> dict[str, Any] | None:
    return None if webhook is None else {"url": webhook.url, "events": list(webhook.events)}


def _webhook_from_json(value: Mapping[str, Any] | None) -> JobWebhook | None:
    return None if value is None else JobWebhook(value["url"], tuple(value["events"]))


def pixel_yx(point: Point) -> tuple[int, int]:
    """The row and column of the pixel that holds a point."""
    return math.floor(point.y + 0.5), math.floor(point.x + 0.5)


def points_of(drags: list[Located]) -> Iterator[tuple[str, Point]]:
    """Every point of some drags, with its pointer."""
    for pointer, drag in drags:
        yield f"{pointer}/handle", drag.handle
        yield f"{pointer}/target", drag.target


def is_inside(point: Point, width: int, height: int) -> bool:
    """Whether the picture has this point: 0 <= x <= width - 1, likewise y."""
    return 0 <= point.x <= width - 1 and 0 <= point.y <= height - 1


def check_points(drags: list[Located], width: int, height: int) -> list[Violation]:
    """Every point that lies outside a picture of this size."""
    return [
        Violation(
            pointer,
            "point_outside_image",
            f"({point.x:g}, {point.y:g}) is outside the picture:"
            f" x from 0 to {width - 1}, y from 0 to {height - 1}",
        )
        for pointer, point in points_of(drags)
        if not is_inside(point, width, height)
    ]


def check_round(pointer: str, drags: list[Located]) -> list[Violation]:
    """What is wrong with one round whatever the picture: points that coincide, nothing moved."""
    found = _duplicates(drags, "handle") + _duplicates(drags, "target")
    if drags and all(drag.handle == drag.target for _, drag in drags):
        found.append(
            Violation(pointer, "zero_length_drags", "every handle is its own target: nothing moves")
        )
    return found


def _duplicates(drags: list[Located], end: str) -> list[Violation]:
    first: dict[Point, str] = {}
    found = []
    for pointer, drag in drags:
        point: Point = getattr(drag, end)
        if point in first:
            detail = f"the same {end} as {first[point]}: ({point.x:g}, {point.y:g})"
            found.append(Violation(f"{pointer}/{end}", f"duplicate_{end}", detail))
        first.setdefault(point, f"{pointer}/{end}")
    return found


def locate(rounds: Sequence[Sequence[Drag]], *, is_single: bool) -> list[list[Located]]:
    """Every drag of every round with the pointer that it has in the body of a submission."""
    bases = ["/drags"] if is_single else [f"/rounds/{r}" for r in range(len(rounds))]
    return [
        [(f"{base}/{i}", drag) for i, drag in enumerate(drags)]
        for base, drags in zip(bases, rounds, strict=True)
    ]

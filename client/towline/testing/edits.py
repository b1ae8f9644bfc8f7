"""What the fake finds wrong with an edit: its form, and points that are not on the picture.

What only an engine knows (a mask that is too narrow for it, say) it does not find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from towline.testing.refusals import Wrong

FIELDS: dict[str, Any] = {
    "image": str,
    "mask": (str, dict),
    "drags": list,
    "rounds": list,
    "engine": str,
    "options": dict,
    "priority": str,
    "expires_in_s": int,
    "timeout_s": int,
    "webhook": dict,
    "metadata": dict,
}
OPTIONS: dict[str, Any] = {
    "candidates": (1, 8),
    "seed": (0, 2**53 - 1),
    "steps": (1, 50),
    "guidance": (0, 20),
    "guidance_decay": ("none", "linear", "inv_square"),
    "split_px": (0, 10**6),
    "quality": ("full", "preview"),
    "strict": None,
    "output": ("composite", "canvas"),
    "format": ("png", "webp", "jpeg"),
    "cache": None,
}
PRIORITIES = ("low", "normal", "high")
Size = tuple[int, int]
FindImage = Callable[[str], Size | str]  #: its size, or the code of why there is none


def wrong_with(body: Any, find: FindImage, engine: str) -> list[Wrong]:
    """All of it; nothing for an edit that is taken."""
    if not isinstance(body, dict):
        return [("", "wrong_type", "expected a JSON object")]
    found = [*_wrong_fields(body), *_wrong_options(body.get("options")), *_wrong_labels(body)]
    if isinstance(body.get("engine"), str) and body["engine"] != engine:
        found.append(("/engine", "engine_unavailable", f"configured here: {engine}"))
    size: Size | str | None = None
    for name in ("mask", "image"):
        size = find(body[name]) if isinstance(body.get(name), str) else None
        if isinstance(size, str):
            found.append((f"/{name}", size, f"there is no image {body[name]}"))
    return found + _wrong_drags(body, None if isinstance(size, str) else size)


def _wrong_fields(body: dict[str, Any]) -> Iterator[Wrong]:
    for name, value in body.items():
        if name not in FIELDS:
            yield f"/{name}", "unknown_field", "there is no such field"
        elif value is not None and not isinstance(value, FIELDS[name]):
            yield f"/{name}", "wrong_type", f"not the type of {name}"
    if "image" not in body:
        yield "/image", "missing_field", "the id of an uploaded image is needed"
    if isinstance(body.get("priority"), str) and body["priority"] not in PRIORITIES:
        yield "/priority", "out_of_range", f"one of {', '.join(PRIORITIES)}"


def _wrong_labels(body: dict[str, Any]) -> Iterator[Wrong]:
    labels = body.get("metadata")
    for name, value in labels.items() if isinstance(labels, dict) else ():
        if not isinstance(value, str):
            yield f"/metadata/{name}", "wrong_type", "Input should be a valid string"


def _wrong_options(options: Any) -> Iterator[Wrong]:
    for name, value in options.items() if isinstance(options, dict) else ():
        pointer = f"/options/{name}"
        if name not in OPTIONS:
            yield pointer, "unknown_field", "there is no such field"
        elif not _is_in(OPTIONS[name], value):
            yield pointer, "option_out_of_range", "outside the option's range"


def _is_in(allowed: Any, value: Any) -> bool:
    if allowed is None or value is None:
        return value is None or isinstance(value, bool)
    if isinstance(allowed[0], str):
        return value in allowed
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(allowed[0] <= value <= allowed[1])


def _wrong_drags(body: dict[str, Any], size: Size | None) -> list[Wrong]:
    has = [name for name in ("drags", "rounds") if body.get(name) is not None]
    if not has:
        return [("/drags", "missing_field", "drags (or rounds) are needed")]
    if len(has) == 2:
        return [("/rounds", "conflicting_fields", "give either drags or rounds")]
    if not isinstance(body[has[0]], list):
        return []
    rounds = {"/drags": body["drags"]} if has == ["drags"] else _rounds(body["rounds"])
    return [each for place, drags in rounds.items() for each in _wrong_round(place, drags, size)]


def _rounds(rounds: list[Any]) -> dict[str, Any]:
    return {f"/rounds/{index}": drags for index, drags in enumerate(rounds)}


def _wrong_round(place: str, drags: Any, size: Size | None) -> list[Wrong]:
    if not isinstance(drags, list) or not drags:
        return [(place, "wrong_length", "at least one drag")]
    found: list[Wrong] = []
    for index, drag in enumerate(drags):
        for end in ("handle", "target"):
            point = drag.get(end) if isinstance(drag, dict) else None
            found += _wrong_point(f"{place}/{index}/{end}", point, size)
    if not found and all(drag["handle"] == drag["target"] for drag in drags):
        found.append((place, "zero_length_drags", "every handle is its own target: nothing moves"))
    return found


def _wrong_point(pointer: str, point: Any, size: Size | None) -> list[Wrong]:
    if point is None:
        return [(pointer, "missing_field", "this field is needed")]
    if not isinstance(point, list) or len(point) != 2:
        return [(pointer, "wrong_length", "a point is [x, y]")]
    if size is None:
        return []
    (x, y), (width, height) = point, size
    if 0 <= x <= width - 1 and 0 <= y <= height - 1:
        return []
    detail = f"({x}, {y}) is outside the picture: x from 0 to {width - 1}, y from 0 to {height - 1}"
    return [(pointer, "point_outside_image", detail)]

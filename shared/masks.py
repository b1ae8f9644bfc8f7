"""The mask as pixels (H x W, True may change): as the caller wrote it, or made around the drags."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from shared.edits import Drag, MaskImage, MaskPolygon, MaskRect, MaskSpec, Point, pixel_yx

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

ROOM_MIN_PX = 48.0  #: how far a mask that is made reaches beyond a drag, at the least
ROOM_PER_DRAG = 1.75  #: of the longest drag's length
ROOM_PER_SIDE = 0.1  #: of the picture's shorter side


def drawn(
    spec: MaskSpec, rounds: Iterable[Iterable[Drag]], width: int, height: int
) -> NDArray[np.bool_] | None:
    """The mask as it was written, or made around the drags; None for one that was uploaded."""
    match spec:
        case MaskRect():
            return from_rect(spec, width, height)
        case MaskPolygon():
            return from_polygon(spec, width, height)
        case MaskImage():
            return None
        case None:
            return around_drags(rounds, width, height)


def from_rect(rect: MaskRect, width: int, height: int) -> NDArray[np.bool_]:
    """Pixels with x0 <= x < x1 and y0 <= y < y1; what lies outside the picture is cut off."""
    mask_HW = np.zeros((height, width), np.bool_)
    top, bottom = _first_pixels(rect.y0, rect.y1)
    left, right = _first_pixels(rect.x0, rect.x1)
    mask_HW[top:bottom, left:right] = True
    return mask_HW


def _first_pixels(*borders: float) -> list[int]:
    """The first pixel that is not before each of these."""
    return [max(0, math.ceil(border)) for border in borders]


def from_polygon(polygon: MaskPolygon, width: int, height: int) -> NDArray[np.bool_]:
    """Pixels inside the outline or on it; what lies outside the picture is cut off.

    Pillow draws between whole coordinates and would cut fractions off: corners are rounded.
    """
    corners = [pixel_yx(point)[::-1] for point in polygon.points]
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon(corners, fill=1, outline=1)
    return _pixels(canvas)


def around_drags(rounds: Iterable[Iterable[Drag]], width: int, height: int) -> NDArray[np.bool_]:
    """A mask for those who gave none: every pixel within a distance of some drag's line.

    The distance is the largest of 48 px, 1.75 times the longest drag, and a tenth of the
    shorter side: room for what is moved and for what gives way, so that no drag of the
    25 cases smears (with 0.75 times, 20 did).
    """
    drags = [drag for drags in rounds for drag in drags]
    longest = max(math.dist(_xy(drag.handle), _xy(drag.target)) for drag in drags)
    room_px = max(ROOM_MIN_PX, ROOM_PER_DRAG * longest, ROOM_PER_SIDE * min(width, height))
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for drag in drags:
        _draw_capsule(draw, _xy(drag.handle), _xy(drag.target), room_px)
    return _pixels(canvas)


def _draw_capsule(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], room_px: float
) -> None:
    """Every pixel within `room_px` of the line from start to end."""
    for x, y in (start, end):
        draw.ellipse((x - room_px, y - room_px, x + room_px, y + room_px), fill=1)
    length = math.dist(start, end)
    if length:
        side_x, side_y = (start[1] - end[1]) / length, (end[0] - start[0]) / length
        corners = [
            (x + sign * room_px * side_x, y + sign * room_px * side_y)
            for (x, y), sign in ((start, 1), (end, 1), (end, -1), (start, -1))
        ]
        draw.polygon(corners, fill=1)


def _xy(point: Point) -> tuple[float, float]:
    return point.x, point.y


def _pixels(canvas: Image.Image) -> NDArray[np.bool_]:
    """Pillow hands out 255 for true, which numpy takes at its word."""
    return np.asarray(canvas.convert("L")) > 0

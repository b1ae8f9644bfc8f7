"""The mask as pixels (H x W, True may change): as the caller wrote it, or made around the drags."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from shared.edits import Drag, Located, MaskPolygon, MaskRect, Point, points_of
from shared.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

ROOM_MIN_PX = 32.0  #: how far a mask that is made reaches beyond a drag, at the least
ROOM_PER_DRAG = 0.75  #: of the longest drag's length
ROOM_PER_SIDE = 0.05  #: of the picture's shorter side


def from_rect(rect: MaskRect, width: int, height: int) -> NDArray[np.bool_]:
    """Pixels with x0 <= x < x1 and y0 <= y < y1; what lies outside the picture is cut off."""
    columns, rows = np.arange(width), np.arange(height)
    in_x = (columns >= rect.x0) & (columns < rect.x1)
    in_y = (rows >= rect.y0) & (rows < rect.y1)
    return in_y[:, None] & in_x[None, :]


def from_polygon(polygon: MaskPolygon, width: int, height: int) -> NDArray[np.bool_]:
    """Pixels inside the outline or on it; what lies outside the picture is cut off.

    Pillow draws between whole coordinates and would cut fractions off: corners are rounded.
    """
    corners = [pixel_yx(point)[::-1] for point in polygon.points]
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon(corners, fill=1, outline=1)
    return np.asarray(canvas, dtype=np.bool_)


def around_drags(rounds: Iterable[Iterable[Drag]], width: int, height: int) -> NDArray[np.bool_]:
    """A mask for those who gave none: every pixel within a distance of some drag's line.

    The distance is the largest of 32 px, three quarters of the longest drag, and a
    twentieth of the shorter side: room for what is moved and for what gives way.
    """
    drags = [drag for drags in rounds for drag in drags]
    longest = max(math.dist(_xy(drag.handle), _xy(drag.target)) for drag in drags)
    room_px = max(ROOM_MIN_PX, ROOM_PER_DRAG * longest, ROOM_PER_SIDE * min(width, height))
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for drag in drags:
        _draw_capsule(draw, _xy(drag.handle), _xy(drag.target), room_px)
    return np.asarray(canvas, dtype=np.bool_)


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


def check_in_mask(mask_HW: NDArray[np.bool_], drags: list[Located]) -> list[Violation]:
    """Every point that does not lie on a pixel of the mask. All points are inside the picture."""
    return [
        Violation(
            pointer,
            "point_outside_mask",
            f"({point.x:g}, {point.y:g}) lies outside the mask: only masked pixels may change",
        )
        for pointer, point in points_of(drags)
        if not mask_HW[pixel_yx(point)]
    ]


def pixel_yx(point: Point) -> tuple[int, int]:
    """The row and column of the pixel that holds a point."""
    return math.floor(point.y + 0.5), math.floor(point.x + 0.5)


def _xy(point: Point) -> tuple[float, float]:
    return point.x, point.y


MAX_RUNS = 50_000  #: of masked pixels in rows, beyond which connection is left to the engine


def check_connected(mask_HW: NDArray[np.bool_], drags: list[Located]) -> list[Violation]:
    """Every drag whose two ends lie in different parts of the mask. All points are masked.

    Parts are told apart generously, diagonal neighbours belong together, so whatever is
    found here no engine could reach. A mask of very many pieces is not judged.
    """
    part_of = _parts(mask_HW)
    if part_of is None:
        return []
    return [
        Violation(
            f"{pointer}/target",
            "drag_not_reachable",
            "lies in another part of the mask than its handle: nothing can move across",
        )
        for pointer, drag in drags
        if part_of(drag.handle) != part_of(drag.target)
    ]


def _parts(mask_HW: NDArray[np.bool_]) -> Callable[[Point], int] | None:
    """Which connected part of the mask holds a point; None for more than `MAX_RUNS` runs."""
    height, width = mask_HW.shape
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = mask_HW
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)  # a run is row, start <= x < end
    _, ends = np.nonzero(steps == -1)
    if len(rows) > MAX_RUNS:
        return None
    first_of_row = np.searchsorted(rows, np.arange(height + 1))
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    for above, below in _touching(first_of_row, starts, ends):
        parents[root(below)] = root(above)

    def part_of(point: Point) -> int:
        row, column = pixel_yx(point)
        run = first_of_row[row] + np.searchsorted(
            starts[first_of_row[row] : first_of_row[row + 1]], column, side="right"
        )
        return root(int(run) - 1)

    return part_of


def _touching(
    first_of_row: NDArray[np.intp], starts: NDArray[np.intp], ends: NDArray[np.intp]
) -> Iterator[tuple[int, int]]:
    """Pairs of runs in neighbouring rows that touch, sideways or at a corner."""
    for row in range(len(first_of_row) - 2):
        above, stop_above = int(first_of_row[row]), int(first_of_row[row + 1])
        below, stop_below = stop_above, int(first_of_row[row + 2])
        while above < stop_above and below < stop_below:
            if starts[above] <= ends[below] and starts[below] <= ends[above]:
                yield above, below
            if ends[above] < ends[below]:
                above += 1
            else:
                below += 1

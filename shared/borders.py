"""Where a mask's border stands still, and the picture's edge along which a point may slide.

    point_at_mask_border       closer to a pixel that must stay than the engine needs
    edge_point_moves_inward    on the picture's edge, and the drag would leave it (or arrive at it)

An engine whose field stands still at the mask's border cannot move a point that lies there.
Where the mask runs off the picture there is no such border: the field slides along the picture's
edge, and a point may lie on the edge itself as long as it stays on it. Distances are from the
point to the centre of the nearest pixel that must stay. Pinholes, up to `PINHOLE_PX` pixels that
must stay with nothing but mask around them, are no border: DragBench's masks are full of them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shared.edits import Drag, Located, Point, points_of
from shared.errors import Violation

NEAR_BORDER_PX = 3.0  #: the farthest that a border is looked for
PINHOLE_PX = 32  #: the largest hole that is no border
EDGE_PX = 2.0  #: closer than this to the picture's edge, a point belongs to the edge
EDGE_SLACK_PX = 0.01  #: what counts as lying on the edge's own line


def check_borders(
    mask_HW: NDArray[np.bool_], drags: list[Located], inset_px: float
) -> list[Violation]:
    """Points nearer than `inset_px` (up to 3) to the border, and drags that leave an edge.

    All points are masked.
    """
    found = [
        Violation(
            pointer,
            "point_at_mask_border",
            f"({point.x:g}, {point.y:g}) is {distance:.2f} px from the mask's border,"
            f" {inset_px:g} px are needed",
        )
        for pointer, point in points_of(drags)
        if (distance := border_distance_px(mask_HW, point)) < inset_px
    ]
    at_border = {violation.pointer.rsplit("/", 1)[0] for violation in found}
    return found + [
        Violation(
            f"{pointer}/target",
            "edge_point_moves_inward",
            "a point on the picture's edge can only be moved along that edge",
        )
        for pointer, drag in drags
        if pointer not in at_border and _leaves_its_edge(drag, mask_HW.shape)
    ]


def border_distance_px(mask_HW: NDArray[np.bool_], point: Point) -> float:
    """How far `point` is from the border that stands still; `NEAR_BORDER_PX` when no closer."""
    reach = math.ceil(NEAR_BORDER_PX)
    height, width = mask_HW.shape
    left, top = max(0, math.floor(point.x) - reach), max(0, math.floor(point.y) - reach)
    right, bottom = math.ceil(point.x) + reach + 1, math.ceil(point.y) + reach + 1
    window = mask_HW[top : min(bottom, height), left : min(right, width)]
    rows, columns = np.nonzero(~window)
    distances = np.hypot(columns + left - point.x, rows + top - point.y)
    for nearest in np.argsort(distances, kind="stable"):
        if distances[nearest] >= NEAR_BORDER_PX:
            break
        if not _in_pinhole(mask_HW, int(columns[nearest]) + left, int(rows[nearest]) + top):
            return float(distances[nearest])
    return NEAR_BORDER_PX


def _leaves_its_edge(drag: Drag, shape_yx: tuple[int, ...]) -> bool:
    """Near an edge the way off it may at most double (or halve) the distance to it."""
    height, width = shape_yx
    for before, after, last in (
        (drag.handle.x, drag.target.x, width - 1),
        (drag.handle.y, drag.target.y, height - 1),
    ):
        for a, b in ((before, after), (last - before, last - after)):
            nearer = min(a, b)
            if nearer < EDGE_PX and abs(a - b) > nearer + EDGE_SLACK_PX:
                return True
    return False


def _in_pinhole(mask_HW: NDArray[np.bool_], x: int, y: int) -> bool:
    """Whether the pixel, one that must stay, is in a hole of at most `PINHOLE_PX` pixels."""
    height, width = mask_HW.shape
    seen, todo = {(x, y)}, [(x, y)]
    while todo:
        x, y = todo.pop()
        if x in (0, width - 1) or y in (0, height - 1):
            return False
        for beside in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
            if beside not in seen and not mask_HW[beside[1], beside[0]]:
                seen.add(beside)
                todo.append(beside)
        if len(seen) > PINHOLE_PX:
            return False
    return True

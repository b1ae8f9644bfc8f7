"""Which points a drag may have, judged from the mask alone: numpy only, so the API can ask too.

    mask_empty                 nothing may change at all
    point_outside_image        not in the picture: 0 <= x <= width - 1, 0 <= y <= height - 1
    point_outside_mask         not a number, or on a pixel that must stay
    point_at_mask_border       closer than `INSET_PX` to a pixel that must stay
    edge_point_moves_inward    on the picture's edge, and the drag would leave it (or arrive at it)

The warp stands still at the mask's border, so a point there cannot be moved. Where the mask
runs off the picture there is no such border: the field slides along the picture's edge, and a
point may lie on the edge itself as long as it stays on it. Distances are from the point to the
centre of the nearest pixel that must stay. Pinholes, up to `PINHOLE_PX` pixels that must stay
with nothing but mask around them, do not count as a border: DragBench's masks are full of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.edits import Drag, Point
from shared.errors import Violation

INSET_PX = 2.0  #: a point must be at least this far from the border that stands still
NEAR_BORDER_PX = 3.0  #: and is warned of when it is closer than this
PINHOLE_PX = 32  #: the largest hole that is no border
EDGE_PX = 2.0  #: closer than this to the picture's edge, a point belongs to the edge
EDGE_SLACK_PX = 0.01  #: what counts as lying on the edge's own line


def point_violations(
    rounds: Sequence[Sequence[Drag]], mask_HW: NDArray[np.bool_]
) -> list[Violation]:
    """Everything that is wrong with the points of `rounds`; pointers as the API's body has them.

    One round is `/drags/0/handle`, several are `/rounds/1/0/target`.
    """
    if not mask_HW.any():
        return [Violation("/mask", "mask_empty", "The mask lets no pixel change.")]
    bases = ["/drags"] if len(rounds) == 1 else [f"/rounds/{i}" for i in range(len(rounds))]
    return [
        violation
        for base, drags in zip(bases, rounds, strict=True)
        for index, drag in enumerate(drags)
        for violation in _drag_violations(drag, mask_HW, f"{base}/{index}")
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


def _drag_violations(drag: Drag, mask_HW: NDArray[np.bool_], base: str) -> Iterator[Violation]:
    wrong = False
    for name, point in (("handle", drag.handle), ("target", drag.target)):
        for code, detail in _point_faults(point, mask_HW):
            wrong = True
            yield Violation(f"{base}/{name}", code, detail)
    if not wrong and _leaves_its_edge(drag, mask_HW.shape):
        yield Violation(
            f"{base}/target",
            "edge_point_moves_inward",
            "A point on the picture's edge can only be moved along that edge.",
        )


def _point_faults(point: Point, mask_HW: NDArray[np.bool_]) -> Iterator[tuple[str, str]]:
    height, width = mask_HW.shape
    if not (math.isfinite(point.x) and math.isfinite(point.y)):
        yield "point_outside_mask", "The point is not a number."
    elif not (0 <= point.x <= width - 1 and 0 <= point.y <= height - 1):
        yield "point_outside_image", f"({point.x:g}, {point.y:g}) is outside the picture."
    elif not mask_HW[math.floor(point.y + 0.5), math.floor(point.x + 0.5)]:
        yield "point_outside_mask", f"({point.x:g}, {point.y:g}) is on a pixel that must stay."
    elif (distance := border_distance_px(mask_HW, point)) < INSET_PX:
        yield (
            "point_at_mask_border",
            f"({point.x:g}, {point.y:g}) is {distance:.2f} px from the border, not {INSET_PX:g}.",
        )


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

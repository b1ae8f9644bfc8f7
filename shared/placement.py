"""Whether drags can be made on a picture with a mask: asked at submission, and by the engines."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

from shared.borders import check_borders
from shared.edits import Located, Point, check_points, pixel_yx, points_of
from shared.errors import Violation
from shared.parts import check_connected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import numpy as np
    from numpy.typing import NDArray


APART_PX = 1.0  #: handles closer than this are one; targets closer than this are refused


def check_placement(
    mask_HW: NDArray[np.bool_], drags: list[Located], inset_px: float
) -> list[Violation]:
    """Everything that is wrong with the points of `drags`, each fault of a point but once.

    inset_px: how far inside the mask's border the engine needs a point; 0 for any place.
    """
    height, width = mask_HW.shape
    found = check_points(drags, width, height)
    if not mask_HW.any():
        return [*found, Violation("/mask", "mask_empty", "the mask lets no pixel change")]
    found += check_in_mask(mask_HW, drags, {fault.pointer for fault in found})
    if inset_px:  # the mask's content is moved, not made anew: it needs room, and a way
        found += check_borders(mask_HW, without(drags, found), inset_px)
        found += check_apart(without(drags, found))
        found += check_connected(mask_HW, without(drags, found))
    return found


def check_in_mask(
    mask_HW: NDArray[np.bool_], drags: list[Located], outside: Collection[str] = ()
) -> list[Violation]:
    """Every point that does not lie on a pixel of the mask, less those `outside` the picture."""
    return [
        Violation(
            pointer,
            "point_outside_mask",
            f"({point.x:g}, {point.y:g}) lies outside the mask: only masked pixels may change",
        )
        for pointer, point in points_of(drags)
        if pointer not in outside and not mask_HW[pixel_yx(point)]
    ]


def check_apart(drags: list[Located]) -> list[Violation]:
    """Targets of one round that nearly coincide while their handles do not.

    A field that folds nothing cannot bring two points together.
    """
    return [
        Violation(
            f"{pointer}/target",
            "duplicate_target",
            f"less than {APART_PX:g} px from {other}/target, though their handles are not",
        )
        for (other, before), (pointer, drag) in combinations(drags, 2)
        if other.rsplit("/", 1)[0] == pointer.rsplit("/", 1)[0]
        and 0 < _distance_px(before.target, drag.target) < APART_PX
        and _distance_px(before.handle, drag.handle) >= APART_PX
    ]


def _distance_px(a: Point, b: Point) -> float:
    return math.hypot(a.x - b.x, a.y - b.y)


def without(drags: list[Located], faults: Iterable[Violation]) -> list[Located]:
    """The drags with no fault at either end."""
    faulty = {violation.pointer.rsplit("/", 1)[0] for violation in faults}
    return [located for located in drags if located[0] not in faulty]

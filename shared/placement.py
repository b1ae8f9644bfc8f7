"""Whether drags can be made on a picture with a mask: asked at submission, and by the engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.borders import check_borders
from shared.edits import Located, check_points, pixel_yx, points_of
from shared.errors import Violation
from shared.parts import check_connected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import numpy as np
    from numpy.typing import NDArray


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
    if inset_px:
        found += check_borders(mask_HW, without(drags, found), inset_px)
    return found + check_connected(mask_HW, without(drags, found))


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


def without(drags: list[Located], faults: Iterable[Violation]) -> list[Located]:
    """The drags with no fault at either end."""
    faulty = {violation.pointer.rsplit("/", 1)[0] for violation in faults}
    return [located for located in drags if located[0] not in faulty]

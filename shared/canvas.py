"""The size at which the model works, and what a picture, its mask and its points are there.

    c = sqrt(512^2 / (H0 W0));  H = 64 round(H0 c / 64), at least 64;  W likewise

The authors' rule (golden README section 3.1), but no side is ever 0. Pure arithmetic and Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.edits import Drag, Point
from shared.errors import Violation

AREA_SIDE_PX = 512  #: the canvas has about this side squared many pixels
SIDE_STEP_PX = 64  #: what a side is a multiple of: 1/64 is the coarsest level of the model
LONGEST_PX = 16_384  #: of a canvas that is run: four times the usual area, 64 pixels wide
LATENT_PX = 8  #: pixels of the canvas along one side of a latent

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
PixelYX = tuple[int, int]
Size = tuple[int, int]  #: width, height


def canvas_size(width: int, height: int) -> Size:
    """Width and height of the canvas for a picture of this size; round half to even."""
    scale = math.sqrt(AREA_SIDE_PX**2 / (width * height))
    across, down = (
        max(SIDE_STEP_PX, SIDE_STEP_PX * round(side * scale / SIDE_STEP_PX))
        for side in (width, height)
    )
    return across, down


def to_canvas(picture_HWC: Pixels, size: Size) -> Pixels:
    """The picture at the canvas's size (Lanczos), RGB."""
    image = Image.fromarray(np.ascontiguousarray(picture_HWC[..., :3]))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.array(image)


def mask_to_canvas(mask_HW: Mask, size: Size) -> Mask:
    """The mask at the canvas's size: the nearest pixel, floor(j H0 / H)."""
    width, height = size
    rows = np.arange(height) * mask_HW.shape[0] // height
    columns = np.arange(width) * mask_HW.shape[1] // width
    return np.ascontiguousarray(mask_HW[rows[:, None], columns])


def point_to_canvas(point: Point, picture: Size, size: Size) -> PixelYX:
    """The pixel (y, x) of the canvas in which a point of the picture lies.

    Whole numbers are the centres of pixels, in the picture and on the canvas.
    """
    x, y = (
        min(max(math.floor((at + 0.5) * there / here), 0), there - 1)
        for at, here, there in zip((point.x, point.y), picture, size, strict=True)
    )
    return y, x


def canvas_violations(
    rounds: Iterable[Iterable[tuple[str, Drag]]], mask_HW: Mask | None, picture: Size
) -> list[Violation]:
    """What is wrong on the canvas, though it was right on the picture.

    rounds: drags with their JSON pointers. mask_HW: at the picture's size; None is not checked.
    """
    size = canvas_size(*picture)
    if max(size) > LONGEST_PX:
        detail = f"its canvas would be {size[0]} x {size[1]}, longer than {LONGEST_PX}"
        return [Violation("/image", "canvas_too_long", detail)]
    found = [each for drags in rounds for each in _shared_pixels(drags, picture, size)]
    if mask_HW is not None:
        seen = mask_to_canvas(mask_HW, size)[::LATENT_PX, ::LATENT_PX]
        if not seen.any():
            detail = "the mask is too small: at the model's resolution nothing of it is left"
            found.append(Violation("/mask", "mask_empty_on_canvas", detail))
    return found


def _shared_pixels(
    drags: Iterable[tuple[str, Drag]], picture: Size, size: Size
) -> Iterator[Violation]:
    first: dict[tuple[str, PixelYX], str] = {}
    for pointer, drag in drags:
        for end, point in (("handle", drag.handle), ("target", drag.target)):
            pixel = point_to_canvas(point, picture, size)
            other = first.setdefault((end, pixel), f"{pointer}/{end}")
            if other != f"{pointer}/{end}":
                detail = (
                    f"on the canvas ({size[0]} x {size[1]}) the same pixel as {other},"
                    " and one of them would be lost"
                )
                yield Violation(f"{pointer}/{end}", f"duplicate_{end}", detail)

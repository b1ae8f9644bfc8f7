"""What an item of the corpus is, and the one small picture most of them are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

#: 3 x 2 blocks of 8 x 8 pixels, so that a JPEG has the colours exactly enough.
BLOCK = 8
COLOURS = np.array(
    [
        [(200, 30, 40), (40, 190, 60), (30, 60, 210)],
        [(230, 220, 50), (120, 120, 120), (250, 250, 250)],
    ],
    np.uint8,
)
PICTURE = COLOURS.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)  #: 16 high, 24 wide, RGB
WIDTH, HEIGHT = PICTURE.shape[1], PICTURE.shape[0]
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = (
    tuple(int(sample) for sample in COLOURS[y, x]) for y, x in ((0, 0), (0, 2), (1, 0), (1, 2))
)


@dataclass(frozen=True)
class Decoded:
    """What comes out: the size of the upright picture, and one of its pixels as a check."""

    content_type: str
    width: int = WIDTH
    height: int = HEIGHT
    pixel_xy: tuple[int, int] = (3, 3)
    pixel: tuple[int, ...] = TOP_LEFT  #: RGB or RGBA
    tolerance: int = 0  #: of each sample


@dataclass(frozen=True)
class Hostile:
    """One picture, or what claims to be one."""

    name: str
    build: Callable[[], bytes]
    expected: str | Decoded

    @property
    def data(self) -> bytes:
        return self.build()


Expected = str | Decoded
png_like = partial(Decoded, "image/png")
jpeg_like = partial(Decoded, "image/jpeg", tolerance=6)
webp_like = partial(Decoded, "image/webp")
TOO_LARGE, UNSUPPORTED, UNREADABLE = "image_too_large", "unsupported_image_type", "image_unreadable"

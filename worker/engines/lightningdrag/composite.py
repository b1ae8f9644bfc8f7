"""From the canvas back to the picture: only inside the mask, and softly towards its inner edge.

    out = old + alpha (new - old),   alpha = 0 outside of the mask, 1 from `FEATHER_PX` inside it

Outside of the mask every byte is the picture's own. The authors' demo shows the canvas as it is.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

FEATHER_PX = 8  #: on the canvas: as wide as a latent
BAND_PX = 1 << 16  #: pixels that are mixed at once: their float32 copies stay in the cache

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]  #: rows and columns


def composite(picture_HWC: Pixels, canvas_HW3: Pixels, mask_HW: Mask) -> Pixels:
    """The picture with the canvas's content inside the mask; its size and its alpha are kept."""
    return Seam(mask_HW, canvas_HW3.shape[:2]).sew(picture_HWC, canvas_HW3)


class Seam:
    """Where a canvas shows in a picture, and how strongly: the same for all candidates."""

    def __init__(self, mask_HW: Mask, canvas: tuple[int, ...]) -> None:
        """canvas: its height and width."""
        height, width = mask_HW.shape
        feather_px = FEATHER_PX * max(height / canvas[0], width / canvas[1])
        self.box = _box(mask_HW)
        self.alpha_HW1 = soft_mask(mask_HW[self.box], feather_px)[..., None]

    def sew(self, picture_HWC: Pixels, canvas_HW3: Pixels) -> Pixels:
        """A new picture; see `composite`."""
        out = picture_HWC.copy()
        height, width = out.shape[:2]
        new, part = _enlarged(canvas_HW3, width, height, self.box), out[self.box][..., :3]
        step = max(1, BAND_PX // part.shape[1])
        for start in range(0, len(part), step):
            band = slice(start, start + step)
            old = part[band].astype(np.float32)
            part[band] = np.rint(old + self.alpha_HW1[band] * (new[band] - old))
        return out


def soft_mask(mask_HW: Mask, feather_px: float) -> NDArray[np.float32]:
    """0 outside, growing to 1 with the distance from the mask's edge; the picture's own is none."""
    inside_px = cv2.distanceTransform(mask_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.minimum(inside_px / max(feather_px, 1.0), 1.0), np.float32)


def _box(mask_HW: Mask) -> Box:
    """What holds the mask and, where the picture does not end there, one pixel around it."""
    down, across = (np.flatnonzero(mask_HW.any(axis=axis)) for axis in (1, 0))
    if not len(down):
        return slice(0, 1), slice(0, 1)
    return (
        slice(max(int(down[0]) - 1, 0), int(down[-1]) + 2),
        slice(max(int(across[0]) - 1, 0), int(across[-1]) + 2),
    )


def _enlarged(canvas_HW3: Pixels, width: int, height: int, box: Box) -> Pixels:
    """A part of the canvas at the picture's size; the whole is never made."""
    if canvas_HW3.shape[:2] == (height, width):
        return canvas_HW3[box]
    (top, bottom, _), (left, right, _) = box[0].indices(height), box[1].indices(width)
    down, across = canvas_HW3.shape[0] / height, canvas_HW3.shape[1] / width
    part = (
        left * across,
        top * down,
        min(right * across, canvas_HW3.shape[1]),
        min(bottom * down, canvas_HW3.shape[0]),
    )
    size = (right - left, bottom - top)
    return np.asarray(Image.fromarray(canvas_HW3).resize(size, Image.Resampling.LANCZOS, box=part))

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

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def composite(picture_HWC: Pixels, canvas_HW3: Pixels, mask_HW: Mask) -> Pixels:
    """The picture with the canvas's content inside the mask; its size and its alpha are kept."""
    height, width = mask_HW.shape
    feather_px = FEATHER_PX * max(height / canvas_HW3.shape[0], width / canvas_HW3.shape[1])
    enlarged = _resized(canvas_HW3, width, height)[mask_HW].astype(np.float32)
    alpha = soft_mask(mask_HW, feather_px)[mask_HW][:, None]
    out = picture_HWC.copy()
    kept = out[mask_HW]
    old = kept[:, :3].astype(np.float32)
    kept[:, :3] = np.rint(old + alpha * (enlarged - old)).astype(np.uint8)
    out[mask_HW] = kept
    return out


def soft_mask(mask_HW: Mask, feather_px: float) -> NDArray[np.float32]:
    """0 outside, growing to 1 with the distance from the mask's edge; the picture's own is none."""
    inside_px = cv2.distanceTransform(mask_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.minimum(inside_px / max(feather_px, 1.0), 1.0), np.float32)


def _resized(pixels_HW3: Pixels, width: int, height: int) -> Pixels:
    image = Image.fromarray(pixels_HW3)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)

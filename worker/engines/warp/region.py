"""The mask as the field sees it: small holes filled, cut into connected parts.

Each part is moved onto itself by a flow of its own. Pixels are written only where the mask as
given allows it; the holes are filled for the field alone (DragBench's masks have pinholes, and
a field that stands still at each of them folds).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HOLE_PX = 32  #: holes up to this many pixels are filled ...
HOLE_SHARE = 0.002  #: ... or up to this share of the mask, whichever is more


@dataclass(frozen=True, slots=True)
class Part:
    """One connected part, cut out with a rim of one pixel unless it lies at the picture's edge.

    origin: (x, y) of the cut's top-left pixel in the picture.
    depth_HW: float32, px from each pixel's centre to the nearest one outside the part (0 there);
        the picture's edge is no border, for the field slides along it.
    slides: whether the part touches the picture's left, top, right and bottom edge.
    """

    origin: tuple[int, int]
    depth_HW: NDArray[np.float32]
    slides: tuple[bool, bool, bool, bool]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the cut, px."""
        height, width = self.depth_HW.shape
        return width, height

    @property
    def area_px(self) -> int:
        return int(np.count_nonzero(self.depth_HW))

    @property
    def inradius_px(self) -> float:
        """Of the largest disc inside (half the short side when nothing but edges bounds it)."""
        return min(float(self.depth_HW.max()), max(1.0, min(self.size) / 2))

    def depth_at(self, points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Depth under points (x, y) of the picture, bilinear; 0 outside the cut."""
        width, height = self.size
        at = points_N2 - np.array(self.origin)
        inside = ((at >= 0) & (at <= (width - 1, height - 1))).all(axis=1)
        low = np.clip(np.floor(at), 0, (max(width - 2, 0), max(height - 2, 0))).astype(int)
        high = np.minimum(low + 1, (width - 1, height - 1))
        fx, fy = np.clip(at - low, 0, 1).T
        depth = self.depth_HW
        upper = depth[low[:, 1], low[:, 0]] * (1 - fx) + depth[low[:, 1], high[:, 0]] * fx
        lower = depth[high[:, 1], low[:, 0]] * (1 - fx) + depth[high[:, 1], high[:, 0]] * fx
        return np.where(inside, upper * (1 - fy) + lower * fy, 0.0)

    def edge_distance(self, points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
        """From points to the nearest picture's edge that the part touches, px."""
        x, y = (points_N2 - np.array(self.origin)).T
        width, height = self.size
        distances = np.stack([x, y, width - 1 - x, height - 1 - y])
        return np.asarray(np.where(np.array(self.slides)[:, None], distances, np.inf).min(axis=0))


@dataclass(frozen=True, slots=True)
class Region:
    """The filled mask's parts, as labels over its bounding box (with the rim)."""

    origin: tuple[int, int]
    labels_HW: NDArray[np.int32]
    picture_size: tuple[int, int]
    holes_filled: int

    def label_at(self, point: tuple[float, float]) -> int:
        """Which part the pixel under (x, y) belongs to."""
        x, y = (int(np.floor(v + 0.5)) - o for v, o in zip(point, self.origin, strict=True))
        return int(self.labels_HW[y, x])

    def part(self, label: int) -> Part:
        """Cut out the part called `label`."""
        inside = np.equal(self.labels_HW, label).view(np.uint8)
        left, top, width, height = _with_rim(cv2.boundingRect(inside), inside.shape)
        inside = inside[top : top + height, left : left + width]
        x, y = self.origin[0] + left, self.origin[1] + top
        across, down = self.picture_size
        return Part(
            origin=(x, y),
            depth_HW=_depth(inside),
            slides=(
                x == 0 and bool(inside[:, 0].any()),
                y == 0 and bool(inside[0].any()),
                x + width == across and bool(inside[:, -1].any()),
                y + height == down and bool(inside[-1].any()),
            ),
        )


def find_region(mask_HW: NDArray[np.bool_]) -> Region:
    """Fill the small holes of a mask that is not empty and label its parts."""
    # Not every True is a 1: Pillow's bitmaps become arrays of bool whose bytes are 255.
    mask = np.not_equal(np.ascontiguousarray(mask_HW).view(np.uint8), 0).view(np.uint8)
    left, top, width, height = _with_rim(cv2.boundingRect(mask), mask.shape)
    cut = mask[top : top + height, left : left + width]
    filled, holes = _fill_holes(cut)
    _, labels = cv2.connectedComponents(filled, connectivity=4, ltype=cv2.CV_32S)
    return Region((left, top), np.asarray(labels, np.int32), (mask.shape[1], mask.shape[0]), holes)


def _with_rim(
    box: tuple[int, int, int, int] | cv2.typing.Rect, shape_yx: tuple[int, ...]
) -> tuple[int, int, int, int]:
    left, top, width, height = box
    right, bottom = min(left + width + 1, shape_yx[1]), min(top + height + 1, shape_yx[0])
    left, top = max(left - 1, 0), max(top - 1, 0)
    return left, top, right - left, bottom - top


def _fill_holes(cut_HW: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """The cut with its small enclosed holes filled, and how many there were."""
    area = int(cv2.countNonZero(cut_HW))
    if area == cut_HW.size:
        return cut_HW, 0
    outside = 1 - cut_HW
    _, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= max(HOLE_PX, HOLE_SHARE * area)
    for rim in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[rim] = False
    small[0] = False
    if not small.any():
        return cut_HW, 0
    return cut_HW | small[labels].view(np.uint8), int(np.count_nonzero(small))


def _depth(inside_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    if inside_HW.all():
        return np.full(inside_HW.shape, float(max(inside_HW.shape)), np.float32)
    depth = cv2.distanceTransform(inside_HW, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(depth, np.float32)

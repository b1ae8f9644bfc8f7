"""A part made smaller around its drags, when a lattice over all of it would be too coarse.

A point close to the border, or two close to each other, need small cells; a large part allows only
large ones. What lies far from every drag is then left out of the field: it stands still.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.handles import Handles
from worker.engines.warp.region import Part

LEAST_REACH = 1.0  #: how far around the drags the field reaches at least, in longest drags


def focused(part: Part, handles: Handles, area_px: float) -> Part:
    """The part, or about `area_px` of it: what lies nearest to the straight ways of its handles."""
    if part.area_px <= area_px:
        return part
    away_HW = _distance_to_ways(part, handles)
    inside = away_HW[part.depth_HW > 0]
    nearest = int(min(area_px, inside.size - 1))
    reach = max(
        float(np.partition(inside, nearest)[nearest]),
        LEAST_REACH * float(handles.lengths_px.max()),
        float(part.depth_at(handles.starts_N2).min()),
    )
    depth_HW = np.clip(np.minimum(part.depth_HW, reach - away_HW), 0, None)
    left, top, width, height = cv2.boundingRect((depth_HW > 0).astype(np.uint8))
    right = min(left + width + 1, part.size[0])
    bottom = min(top + height + 1, part.size[1])
    left, top = max(left - 1, 0), max(top - 1, 0)
    x, y = part.origin
    return Part(
        origin=(x + left, y + top),
        depth_HW=np.ascontiguousarray(depth_HW[top:bottom, left:right]),
        slides=(
            part.slides[0] and left == 0,
            part.slides[1] and top == 0,
            part.slides[2] and right == part.size[0],
            part.slides[3] and bottom == part.size[1],
        ),
    )


def _distance_to_ways(part: Part, handles: Handles) -> NDArray[np.float32]:
    """From every pixel to the nearest straight way from a handle to its target, px."""
    away = np.ones(part.depth_HW.shape, np.uint8)
    starts = np.rint(handles.starts_N2 - part.origin).astype(int).tolist()
    targets = np.rint(handles.targets_N2 - part.origin).astype(int).tolist()
    for start, target in zip(starts, targets, strict=True):
        cv2.line(away, start, target, 0)
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)

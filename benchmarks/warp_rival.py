"""The rival: a thin-plate spline, as SciPy has it, drawn by the same renderer.

`scipy.interpolate.RBFInterpolator` with the thin-plate kernel and no smoothing gives the backward
map: targets go to handles, and 160 anchors, spread evenly over the mask's outlines, stay. It is
evaluated on the centres of blocks as large as the engine's own and drawn like the engine's own map,
so that what differs is the field alone.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from worker.engines.base import Edit
from worker.engines.warp.dense import DenseMap, empty_map, misses_px
from worker.engines.warp.field import FULL, block_px, wanted_spacing_px
from worker.engines.warp.grid import make_grid
from worker.engines.warp.handles import Handles, gather_handles
from worker.engines.warp.region import Part, find_region
from worker.engines.warp.render import render
from worker.engines.warp.shape import measure_shape

ANCHORS = 160


def run_spline(edit: Edit) -> tuple[float, float]:
    """Warp one edit's first round; the worst handle's error (px) and the smallest Jacobian."""
    handles = gather_handles(edit.rounds[0])
    region = find_region(edit.mask_HW)
    out = edit.picture_HWC.copy()
    errors, jacobians = [], []
    for label in {region.label_at((x, y)) for x, y in handles.starts_N2}:
        part = region.part(label)
        inside = [region.label_at((x, y)) == label for x, y in handles.starts_N2]
        chosen = handles.only(np.flatnonzero(inside).tolist())
        dense = _spline(part, chosen)
        render(edit.picture_HWC, out, edit.mask_HW, part, dense, FULL.averaged, lambda _: None)
        errors.append(float(np.hypot(*misses_px(dense, chosen).T).max()))
        jacobians.append(measure_shape(dense, part).min_jacobian)
    return max(errors), min(jacobians)


def _spline(part: Part, handles: Handles) -> DenseMap:
    anchors = _anchors(part)
    fixed = np.concatenate([handles.targets_N2, anchors])
    shifts = np.concatenate([handles.starts_N2 - handles.targets_N2, np.zeros_like(anchors)])
    spline = RBFInterpolator(fixed, shifts, kernel="thin_plate_spline")
    grid = make_grid(part, wanted_spacing_px(part, handles, FULL))
    dense = empty_map(part, max(4, block_px(part, grid, FULL)))
    centres = dense.centres()
    dense.shifts_HW2[:] = spline(centres.reshape(-1, 2)).reshape(centres.shape)
    return dense


def _anchors(part: Part) -> NDArray[np.float64]:
    """Points spread evenly over the part's outlines, N x 2, picture pixels."""
    inside = (part.depth_HW > 0).astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate([outline[:, 0] for outline in outlines]).astype(float)
    chosen = np.linspace(0, len(points), min(ANCHORS, len(points)), endpoint=False).astype(int)
    return np.asarray(points[chosen] + part.origin)

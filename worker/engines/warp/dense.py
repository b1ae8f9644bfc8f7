"""The backward map, densely: for every block of g x g pixels, where its centre comes from.

Between the centres the map is bilinear. One block more lies around the part on each side, so that
upsampling needs nothing from beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.handles import Handles, nearest_others
from worker.engines.warp.region import Part

ARRIVED_PX = 0.05  #: a handle this near has arrived
POLISHED_PX = 0.01  #: a handle this near is left alone
POLISHABLE_PX = 1.0  #: a handle that misses by more is not brought there by polish
POLISHES = 12


@dataclass(frozen=True, slots=True)
class DenseMap:
    """block_px: g. first_px: (x, y) of the first centre. shifts_HW2: float32, where a centre comes
    from less where it is, (x, y), px."""

    block_px: int
    first_px: NDArray[np.float64]
    shifts_HW2: NDArray[np.float32]

    def centres(self) -> NDArray[np.float64]:
        """Where the centres are, H x W x 2."""
        rows, columns = self.shifts_HW2.shape[:2]
        x = self.first_px[0] + self.block_px * np.arange(columns)
        y = self.first_px[1] + self.block_px * np.arange(rows)
        return np.stack(np.meshgrid(x, y), axis=2)

    def shifts_at(self, points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
        """The shift of points inside the part, bilinear, as the renderer has it."""
        at = (points_N2 - self.first_px) / self.block_px
        low = np.floor(at).astype(int)
        (x, y), (fx, fy) = low.T, (at - low).T[:, :, None]
        shifts = self.shifts_HW2
        upper = shifts[y, x] * (1 - fx) + shifts[y, x + 1] * fx
        lower = shifts[y + 1, x] * (1 - fx) + shifts[y + 1, x + 1] * fx
        return np.asarray(upper * (1 - fy) + lower * fy)


def empty_map(part: Part, block_px: int) -> DenseMap:
    """A map over a part that moves nothing."""
    blocks = -(-np.array(part.size) // block_px) + 2
    first = np.array(part.origin) - block_px + (block_px - 1) / 2
    return DenseMap(block_px, first, np.zeros((blocks[1], blocks[0], 2), np.float32))


def misses_px(dense: DenseMap, handles: Handles) -> NDArray[np.float64]:
    """Where each handle is less where its target comes from, N x 2, px."""
    return np.asarray(handles.starts_N2 - handles.targets_N2 - dense.shifts_at(handles.targets_N2))


def polish(dense: DenseMap, handles: Handles, part: Part) -> NDArray[np.float64]:
    """Take the last fractions of a pixel out with small bumps at the targets, in place.

    Gives how far each handle is from arriving, px. What is left by the flow is due to the map's
    being bilinear between its centres, and is smaller than `POLISHABLE_PX` by far.
    """
    room = np.minimum(part.depth_at(handles.targets_N2), nearest_others(handles.targets_N2))
    reach = np.maximum(0.8 * room, 2.0 * dense.block_px)
    for _ in range(POLISHES):
        misses = misses_px(dense, handles)
        left = np.hypot(*misses.T)
        if left.max() < POLISHED_PX or not left.max() < POLISHABLE_PX:
            break
        for target, miss, radius in zip(handles.targets_N2, misses, reach, strict=True):
            _add_bump(dense, target, miss, float(radius))
    return np.asarray(np.hypot(*misses_px(dense, handles).T))


def _add_bump(
    dense: DenseMap, centre_2: NDArray[np.float64], shift_2: NDArray[np.float64], radius: float
) -> None:
    """Add `shift_2` at a place, fading to nothing at `radius`: (1 - r^2)^3, Wendland-like."""
    rows, columns = dense.shifts_HW2.shape[:2]
    at = (centre_2 - dense.first_px) / dense.block_px
    reach = radius / dense.block_px
    low = np.maximum(np.ceil(at - reach), 0).astype(int)
    high = np.minimum(np.floor(at + reach), (columns - 1, rows - 1)).astype(int) + 1
    x, y = np.arange(low[0], high[0]) - at[0], np.arange(low[1], high[1]) - at[1]
    fade = np.clip(1 - (x[None] ** 2 + y[:, None] ** 2) / reach**2, 0, 1) ** 3
    window = dense.shifts_HW2[low[1] : high[1], low[0] : high[0]]
    window += fade[:, :, None] * shift_2

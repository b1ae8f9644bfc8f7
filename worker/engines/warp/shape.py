"""How the map bends the picture: its smallest Jacobian and how far it stretches what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.dense import DenseMap
from worker.engines.warp.region import Part


@dataclass(frozen=True, slots=True)
class Shape:
    """min_jacobian: determinant of the backward map, the smallest anywhere; 0 or less is a fold.

    p99_stretch, max_stretch: how many times as long something short may have become, at its
        worst direction, at 99 % of the part and anywhere.
    """

    min_jacobian: float
    p99_stretch: float
    max_stretch: float


UNBENT = Shape(1.0, 1.0, 1.0)


def measure_shape(dense: DenseMap, part: Part) -> Shape:
    """Look at every cell of the map; a bilinear cell folds nowhere if it does at no corner."""
    x_x, x_y, y_x, y_y = _edges(dense)
    smallest = min(
        float((x_x[i] * y_y[:, j] - x_y[i] * y_x[:, j]).min())
        for i in (slice(None, -1), slice(1, None))
        for j in (slice(None, -1), slice(1, None))
    )
    stretch = _stretch(
        (x_x[1:] + x_x[:-1]) / 2,
        (x_y[1:] + x_y[:-1]) / 2,
        (y_x[:, 1:] + y_x[:, :-1]) / 2,
        (y_y[:, 1:] + y_y[:, :-1]) / 2,
    )
    inside = stretch[_cells_inside(dense, part)]
    if inside.size == 0:
        return Shape(smallest, 1.0, 1.0)
    rank = int(0.99 * (inside.size - 1))
    return Shape(smallest, float(np.partition(inside, rank)[rank]), float(inside.max()))


def _edges(dense: DenseMap) -> tuple[NDArray[np.float32], ...]:
    """Derivatives along the cells' edges: of x and of y along x, of x and of y along y."""
    shifts, block = dense.shifts_HW2, np.float32(dense.block_px)
    along_x = (shifts[:, 1:] - shifts[:, :-1]) / block
    along_y = (shifts[1:] - shifts[:-1]) / block
    return along_x[..., 0] + 1, along_x[..., 1], along_y[..., 0], along_y[..., 1] + 1


def _stretch(
    x_x: NDArray[Any], x_y: NDArray[Any], y_x: NDArray[Any], y_y: NDArray[Any]
) -> NDArray[np.float32]:
    """One over the smaller singular value of the 2 x 2 derivative in each cell."""
    squares = x_x * x_x + x_y * x_y + y_x * y_x + y_y * y_y
    area = np.abs(x_x * y_y - x_y * y_x)
    both = np.sqrt(np.maximum(squares + 2 * area, 0))
    apart = np.sqrt(np.maximum(squares - 2 * area, 0))
    return np.asarray(2.0 / np.maximum(both - apart, 2e-3), np.float32)


def _cells_inside(dense: DenseMap, part: Part) -> NDArray[np.bool_]:
    """Cells whose first corner lies in the part."""
    rows, columns = dense.shifts_HW2.shape[:2]
    width, height = part.size
    offset = (dense.block_px - 1) // 2
    y = np.arange(-1, rows - 2) * dense.block_px + offset
    x = np.arange(-1, columns - 2) * dense.block_px + offset
    inside = part.depth_HW[np.clip(y, 0, height - 1)[:, None], np.clip(x, 0, width - 1)] > 0
    return np.asarray(inside)

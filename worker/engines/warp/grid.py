"""The lattice's geometry: where its nodes are, and which of them may move.

Positions are in lattice units, (x, y), node (0, 0) being the top-left one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.region import Part

CELL_DIAGONAL = float(np.sqrt(2.0))


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the nodes are.

    origin_px: (x, y) of node (0, 0) in the picture. pitch_px: spacing along x and y.
    nodes_yx: how many rows and columns.
    """

    origin_px: NDArray[np.float64]
    pitch_px: NDArray[np.float64]
    nodes_yx: tuple[int, int]

    def to_lattice(self, points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Picture pixels to lattice units."""
        return np.asarray((points_N2 - self.origin_px) / self.pitch_px)

    def to_picture(self, points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lattice units to picture pixels."""
        return np.asarray(points_N2 * self.pitch_px + self.origin_px)

    def cells_of(
        self, points_N2: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The four nodes (flat, N x 4) around each point, in lattice units, and their weights."""
        rows, columns = self.nodes_yx
        last = np.array((columns - 1, rows - 1))
        low = np.clip(np.floor(points_N2), 0, np.maximum(last - 1, 0)).astype(np.int64)
        fx, fy = np.clip(points_N2 - low, 0.0, 1.0).T
        (x0, y0), (x1, y1) = low.T, np.minimum(low + 1, last).T
        nodes = np.stack([y * columns + x for y in (y0, y1) for x in (x0, x1)], axis=1)
        weights = np.stack([wy * wx for wy in (1 - fy, fy) for wx in (1 - fx, fx)], axis=1)
        return nodes, weights


def make_grid(part: Part, spacing_px: float) -> Grid:
    """Nodes over the part's cut, no further apart than `spacing_px`, the last on its last pixel."""
    extent = np.array(part.size) - 1.0
    cells = np.ceil(extent / spacing_px).astype(int)
    pitch = np.where(cells > 0, extent / np.maximum(cells, 1), 1.0)
    return Grid(np.array(part.origin, float), pitch, (int(cells[1]) + 1, int(cells[0]) + 1))


def free_nodes(grid: Grid, part: Part, component: int) -> NDArray[np.bool_]:
    """Nodes where a component of the velocity (0 for x, 1 for y) need not be zero.

    Further from the border than a cell's diagonal, and not on an edge that it runs across.
    """
    free = depth_of_nodes(grid, part) > CELL_DIAGONAL * float(grid.pitch_px.max())
    if component == 0:
        free[:, 0] = free[:, -1] = False
    else:
        free[0] = free[-1] = False
    return free


def depth_of_nodes(grid: Grid, part: Part) -> NDArray[np.float64]:
    """The part's depth at every node, px, bilinear."""
    depth = part.depth_HW
    for axis in (0, 1):
        at = np.arange(grid.nodes_yx[axis]) * grid.pitch_px[1 - axis]
        low = np.minimum(at.astype(int), depth.shape[axis] - 1)
        high = np.minimum(low + 1, depth.shape[axis] - 1)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        depth = depth.take(low, axis) * (1 - share) + depth.take(high, axis) * share
    return np.asarray(depth, float)

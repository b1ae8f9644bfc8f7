"""The shortest way inside a part from one point to another, keeping off the border.

Dijkstra over the lattice's nodes that lie deep enough, eight neighbours, each step costing its
length and more where the border is near; then the polyline is smoothed where it stays inside.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from worker.engines.warp.grid import CELL_DIAGONAL, Grid, depth_of_nodes
from worker.engines.warp.region import Part

SMOOTHINGS = 60  #: passes of the three-point mean over the polyline
AVOIDANCE_PX = 4.0  #: how many clearances off the border a step costs its bare length


def find_detour(
    start_2: NDArray[np.float64], target_2: NDArray[np.float64], part: Part, grid: Grid
) -> NDArray[np.float64] | None:
    """The way as a polyline of picture points, K x 2, ends included; None when there is none."""
    depth = depth_of_nodes(grid, part)
    clearance = CELL_DIAGONAL * float(grid.pitch_px.max())
    passable = np.flatnonzero(depth > clearance)
    if len(passable) == 0:
        return None
    places = grid.to_picture(np.stack(np.divmod(passable, grid.nodes_yx[1])[::-1], 1).astype(float))
    first = int(np.hypot(*(places - start_2).T).argmin())
    last = int(np.hypot(*(places - target_2).T).argmin())
    roads = _roads(passable, depth.ravel(), clearance, grid)
    lengths, before = dijkstra(roads, directed=False, indices=first, return_predecessors=True)
    if not np.isfinite(lengths[last]):
        return None
    stops = [last]
    while stops[-1] != first:
        stops.append(int(before[stops[-1]]))
    way = np.concatenate([start_2[None], places[stops[::-1]], target_2[None]])
    return _smoothed(way, part, clearance)


def _roads(
    passable: NDArray[np.int64], depth: NDArray[np.float64], clearance: float, grid: Grid
) -> sp.csr_array:
    """The graph of the passable nodes; each edge once."""
    rows, columns = grid.nodes_yx
    number = np.full(rows * columns, -1)
    number[passable] = np.arange(len(passable))
    y, x = np.divmod(passable, columns)
    froms, tos, costs = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        ok = (y + dy < rows) & (x + dx < columns) & (x + dx >= 0)
        there = (y + dy)[ok] * columns + (x + dx)[ok]
        here, there = passable[ok][number[there] >= 0], there[number[there] >= 0]
        nearness = AVOIDANCE_PX * clearance / np.minimum(depth[here], depth[there])
        froms.append(number[here])
        tos.append(number[there])
        costs.append(np.hypot(dx * grid.pitch_px[0], dy * grid.pitch_px[1]) * (1 + nearness**2))
    ends = (np.concatenate(froms), np.concatenate(tos))
    return sp.csr_array((np.concatenate(costs), ends), shape=(len(passable),) * 2)


def _smoothed(way: NDArray[np.float64], part: Part, clearance: float) -> NDArray[np.float64]:
    """Three-point means, each point moving only where it stays deep enough."""
    for _ in range(SMOOTHINGS):
        middle = (way[:-2] + 2 * way[1:-1] + way[2:]) / 4
        deep = part.depth_at(middle) >= np.minimum(clearance, part.depth_at(way[1:-1]))
        way[1:-1][deep] = middle[deep]
    return way

"""The clamped plate: the biharmonic operator on the free nodes, factorised once.

Among the velocities that stand still at the mask's border and have given values at given points
the plate's is the one of least bending, the integral of |laplace v|^2 (Bookstein 1989 has the free
plate, the thin-plate spline). With the 5-point Laplacian L, the nodes' shares of area W and none
but the free nodes as columns, the operator is A = L' W L.

Where the part touches the picture's edge the field slides: a component that runs along the edge is
mirrored there, one that runs across it is mirrored with its sign turned, so it is zero on the edge
and bends nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu

from worker.engines.warp.grid import Grid, free_nodes
from worker.engines.warp.region import Part

#: Right-hand sides per solve. SuperLU hands them to BLAS, which splits large products among its
#: threads, and the last bits then depend on how many there are; four columns are never split
#: other than evenly, so they come out the same (a test runs with one thread and with two).
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Responses:
    """What a unit push at each of M points does.

    at_nodes: free nodes x M. at_points: M x M, symmetric.
    """

    at_nodes: NDArray[np.float64]
    at_points: NDArray[np.float64]


class Plate:
    """One component of the velocity: its free nodes and its factorised operator."""

    def __init__(self, grid: Grid, free_HW: NDArray[np.bool_], component: int) -> None:
        self.grid = grid
        self.nodes = np.flatnonzero(free_HW)
        self._column_of = np.full(free_HW.size, -1)
        self._column_of[self.nodes] = np.arange(len(self.nodes))
        self._factors: SuperLU | None = None
        if len(self.nodes):
            self._factors = _factorise(_bending(grid, free_HW, self._column_of, component))

    def responses(self, points_M2: NDArray[np.float64]) -> Responses:
        """The plate's answer to a unit push at each point (lattice units)."""
        nodes, weights = self.grid.cells_of(points_M2)
        columns = self._column_of[nodes]
        count = len(points_M2)
        if self._factors is None:
            return Responses(np.zeros((0, count)), np.zeros((count, count)))
        weights = np.where(columns >= 0, weights, 0.0)
        pushes = np.zeros((len(self.nodes), -(-count // AT_ONCE) * AT_ONCE), order="F")
        np.add.at(pushes, (columns, np.arange(count)[:, None]), weights)
        at_nodes = _solve(self._factors, pushes)[:, :count]
        at_points = (at_nodes[columns] * weights[:, :, None]).sum(axis=1)
        return Responses(at_nodes, (at_points + at_points.T) / 2)


def make_plates(grid: Grid, part: Part) -> tuple[Plate, Plate] | None:
    """The plates of v_x and v_y, one and the same unless an edge slides.

    None when nothing is free.
    """
    free = [free_nodes(grid, part, component) for component in (0, 1)]
    if not (free[0].any() or free[1].any()):
        return None
    across = Plate(grid, free[0], 0)
    return across, Plate(grid, free[1], 1) if any(part.slides) else across


def _solve(factors: SuperLU, pushes: NDArray[np.float64]) -> NDArray[np.float64]:
    """`AT_ONCE` columns at a time, whatever their number."""
    columns = range(0, pushes.shape[1], AT_ONCE)
    return np.concatenate([factors.solve(pushes[:, i : i + AT_ONCE]) for i in columns], axis=1)


def _factorise(operator: sp.csc_array) -> SuperLU:
    """No pivoting: the operator is symmetric and positive definite."""
    return splu(
        operator,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True, "Equil": False},
    )


def _bending(
    grid: Grid, free_HW: NDArray[np.bool_], column_of: NDArray[np.int64], component: int
) -> sp.csc_array:
    """A = L' W L for one component, of the size of the largest cell."""
    rows, columns = grid.nodes_yx
    near = np.pad(free_HW, 1)
    near = near[1:-1, 1:-1] | near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:]
    y, x = np.nonzero(near)
    stiffness = (grid.pitch_px.max() / grid.pitch_px) ** 2
    entries = []
    shares = np.ones(len(y))
    for axis, (at, last) in enumerate(((x, columns - 1), (y, rows - 1))):
        if last == 0:
            continue
        edge = (at == 0) | (at == last)
        shares = shares * np.where(edge, 0.0 if axis == component else 0.5, 1.0)
        for step in (-1, 1):
            beside = np.abs(at + step)
            beside = np.where(beside > last, 2 * last - beside, beside)
            node = y * columns + beside if axis == 0 else beside * columns + x
            entries.append((node, stiffness[axis]))
        entries.append((y * columns + x, -2.0 * stiffness[axis]))
    laplacian = _rows_of(entries, column_of, int(free_HW.sum()))
    return sp.csc_array(
        laplacian.T @ sp.dia_array((shares[None], [0]), shape=(len(y),) * 2) @ laplacian
    )


def _rows_of(
    entries: list[tuple[NDArray[np.int64], float]], column_of: NDArray[np.int64], width: int
) -> sp.csr_array:
    """A sparse matrix whose row i has, for each entry, its value at the column of its node i."""
    count = len(entries[0][0])
    row = np.tile(np.arange(count), len(entries))
    column = column_of[np.concatenate([nodes for nodes, _ in entries])]
    value = np.repeat([value for _, value in entries], count)
    kept = column >= 0
    return sp.csr_array((value[kept], (row[kept], column[kept])), shape=(count, width))

"""The rigid disc around every handle: satellites that move as the handle does, and turn with it.

What lies under a handle then arrives as it was. A disc keeps clear of the border, of the picture's
edge and of its neighbours; where it would be smaller than the lattice can hold there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.grid import Grid
from worker.engines.warp.handles import Handles, nearest_others
from worker.engines.warp.paths import Paths
from worker.engines.warp.region import Part

OF_INRADIUS = 0.2
OF_BORDER = 0.5
OF_NEIGHBOUR = 0.35
SMALLEST_CELLS = 0.75  #: the lattice cannot hold a smaller disc
SATELLITES = 4
CONSTRAINTS = 64  #: with many handles each has fewer satellites, and past a point none


@dataclass(frozen=True, slots=True)
class Discs:
    """owner_S: whose satellite each is. offsets_S2: from its owner at time 0, picture pixels."""

    owner_S: NDArray[np.int64]
    offsets_S2: NDArray[np.float64]

    def offsets_at(self, spin: float) -> NDArray[np.float64]:
        """The satellites' offsets after a turn of `spin` radians."""
        x, y = self.offsets_S2.T
        cos, sin = np.cos(spin), np.sin(spin)
        return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)


def place_discs(handles: Handles, paths: Paths, part: Part, grid: Grid) -> Discs:
    """As many and as large as there is room for."""
    radii = disc_radii_px(handles, paths, part)
    each = min(SATELLITES, CONSTRAINTS // len(handles) - 1)
    held = np.flatnonzero(radii >= SMALLEST_CELLS * grid.pitch_px.max())
    if each < 2 or len(held) == 0:
        return Discs(np.zeros(0, np.int64), np.zeros((0, 2)))
    angles = 2 * np.pi * np.arange(each) / each
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    offsets = radii[held, None, None] * circle[None]
    return Discs(np.repeat(held, each), offsets.reshape(-1, 2))


def disc_radii_px(handles: Handles, paths: Paths, part: Part) -> NDArray[np.float64]:
    """How large each handle's disc may be, all along its way."""
    ways = paths.points_TN2[::16]
    flat = ways.reshape(-1, 2)
    border = part.depth_at(flat).reshape(ways.shape[:2]).min(axis=0)
    edge = part.edge_distance(flat).reshape(ways.shape[:2]).min(axis=0)
    neighbour = np.min([nearest_others(points) for points in ways], axis=0)
    room = [OF_BORDER * np.minimum(border, edge), OF_NEIGHBOUR * neighbour]
    return np.asarray(np.minimum(np.minimum(*room), OF_INRADIUS * part.inradius_px))

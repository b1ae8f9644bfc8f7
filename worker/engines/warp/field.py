"""From the mask and one round's drags to the backward maps: one field for each part that moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.dense import ARRIVED_PX, DenseMap, empty_map, polish
from worker.engines.warp.discs import CONSTRAINTS, SATELLITES, place_discs
from worker.engines.warp.flow import Course, flow_back
from worker.engines.warp.focus import focused
from worker.engines.warp.grid import Grid, make_grid
from worker.engines.warp.handles import Handles
from worker.engines.warp.paths import NoWay, Paths, plan_paths
from worker.engines.warp.plate import make_plates
from worker.engines.warp.region import Part, Region
from worker.engines.warp.shape import UNBENT, Shape, measure_shape

CLOSEST_IN_CELLS = 4.0  #: two points, or a point and the border, are this many cells apart
FINER = 0.5  #: cells and steps, for a second try
FINEST_PX = 0.5  #: the lattice is never finer
MOST_NODES = 30_000  #: the lattice's, and ...
FEWEST_NODES = 5_000  #: ... no fewer than this many are allowed, however many the handles
LONGEST_SIDE = 32_000  #: of the lattice and the dense map: OpenCV's lookups take 32,766
MOST_WORK = 600_000  #: nodes times points that are held, a measure of the time a step takes
MOST_IN_CUT = 1_000_000  #: nodes in the rectangle around the part, free or not


@dataclass(frozen=True, slots=True)
class Quality:
    """across: cells over the part's longer side. in_disc: over its inradius.

    gradient: how far one step may bend. blocks_in_cell: how many lookups of the dense map fall in
    a cell. averaged: whether shrunk pixels are averaged.
    """

    across: float
    in_disc: float
    gradient: float
    blocks_in_cell: int
    averaged: bool


FULL = Quality(across=80, in_disc=14, gradient=0.25, blocks_in_cell=5, averaged=True)
PREVIEW = Quality(across=40, in_disc=8, gradient=0.5, blocks_in_cell=3, averaged=False)


@dataclass(frozen=True, slots=True)
class Field:
    """What became of one part's handles.

    errors_px: how far each handle is from arriving (its whole way when it had none).
    """

    part: Part
    handles: Handles
    errors_px: NDArray[np.float64]
    dense: DenseMap | None = None
    paths: Paths | None = None
    shape: Shape = UNBENT
    in_small_steps: bool = True

    @property
    def arrived(self) -> bool:
        """Whether every handle is at its target."""
        return bool((self.errors_px <= ARRIVED_PX).all())

    @property
    def may_improve(self) -> bool:
        """Whether something is wrong with the map that finer cells could mend.

        They cannot where handles meet on their ways, or where the steps were too large already.
        """
        if (
            self.dense is None
            or self.paths is None
            or (self.arrived and self.shape.min_jacobian > 0)
        ):
            return False
        return self.in_small_steps and not self.paths.cross


def find_fields(
    region: Region, handles: Handles, quality: Quality, progress: Callable[[float], None]
) -> Iterator[Field]:
    """One field for each part in which a handle is to be moved; handles at rest are held there."""
    starts = np.array([region.label_at((x, y)) for x, y in handles.starts_N2])
    moving = sorted(set(starts[handles.lengths_px > 0].tolist()))
    for number, label in enumerate(moving):
        chosen = handles.only(np.flatnonzero(starts == label).tolist())
        ends = np.array([region.label_at((x, y)) for x, y in chosen.targets_N2])

        def tell(share: float, number: int = number) -> None:
            progress((number + share) / len(moving))

        part = region.part(label)
        if (ends != label).any():
            yield Field(part, chosen, np.where(ends != label, chosen.lengths_px, 0.0))
        else:
            yield find_field(part, chosen, quality, tell)


def find_field(
    part: Part, handles: Handles, quality: Quality, progress: Callable[[float], None]
) -> Field:
    """The flow that takes a part's handles to their targets, as a dense map.

    A map that folds or does not arrive is tried once more, on a finer lattice in smaller steps.
    """
    progress(0.0)
    field = _try_field(part, handles, quality, 1.0, progress)
    if field.may_improve:
        field = _try_field(part, handles, quality, FINER, lambda _: progress(1.0))
    return field


def _try_field(
    part: Part,
    handles: Handles,
    quality: Quality,
    finer: float,
    progress: Callable[[float], None],
) -> Field:
    wanted = max(FINEST_PX, wanted_spacing_px(part, handles, quality) * finer)
    nodes = most_nodes(handles)
    part = focused(part, handles, nodes * wanted**2)
    grid = make_grid(part, max(wanted, least_spacing_px(part, nodes)))
    try:
        paths = plan_paths(handles, part, grid)
    except NoWay as no_way:
        return Field(part, handles, _whole_way(handles, no_way.stuck))
    plates = make_plates(grid, part)
    if plates is None:
        return Field(part, handles, handles.lengths_px, paths=paths)
    course = Course(paths, place_discs(handles, paths, part, grid), grid, plates)
    dense = empty_map(part, block_px(part, grid, quality))
    in_small_steps = _carry(course, dense, quality.gradient * finer, progress)
    errors = polish(dense, handles, part)
    shape = measure_shape(dense, part)
    return Field(part, handles, errors, dense, paths, shape, in_small_steps)


def wanted_spacing_px(part: Part, handles: Handles, quality: Quality) -> float:
    """How fine the lattice should be: for the part, its thickness, and what points keep apart."""
    depths = part.depth_at(np.concatenate([handles.starts_N2, handles.targets_N2]))
    closest = min(float(depths.min()), handles.closest_px)
    wanted = min(
        max(1.0, max(part.size) / quality.across),
        max(1.0, part.inradius_px / quality.in_disc),
        closest / CLOSEST_IN_CELLS,
    )
    return max(FINEST_PX, wanted)


def most_nodes(handles: Handles) -> int:
    """How many free nodes can be paid for with so many handles."""
    held = min(len(handles) * (1 + SATELLITES), CONSTRAINTS)
    return min(max(MOST_WORK // max(held, len(handles)), FEWEST_NODES), MOST_NODES)


def least_spacing_px(part: Part, nodes: int) -> float:
    """How fine the lattice may be."""
    width, height = part.size
    return max(
        float(np.sqrt(part.area_px / nodes)),
        float(np.sqrt(width * height / MOST_IN_CUT)),
        max(part.size) / LONGEST_SIDE,
    )


def block_px(part: Part, grid: Grid, quality: Quality) -> int:
    """How large the dense map's blocks may be: well below the lattice's cells."""
    least = -(-max(part.size) // LONGEST_SIDE)
    return max(least, int(grid.pitch_px.max() / quality.blocks_in_cell))


def _carry(
    course: Course, dense: DenseMap, gradient: float, progress: Callable[[float], None]
) -> bool:
    """Fill the dense map by letting its centres flow back; whether in small enough steps."""
    pitch = course.grid.pitch_px
    start = ((dense.centres() - course.grid.origin_px) / pitch).transpose(2, 0, 1)
    points = start.astype(np.float32, order="C")
    in_small_steps = flow_back(course, points, gradient, progress)
    dense.shifts_HW2[:] = (points - start).transpose(1, 2, 0) * pitch
    return in_small_steps


def _whole_way(handles: Handles, stuck: list[int]) -> NDArray[np.float64]:
    return np.where(np.isin(np.arange(len(handles)), stuck), handles.lengths_px, 0.0)

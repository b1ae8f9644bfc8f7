"""The flow that takes the targets back to the handles, and every point of the part with them.

The backward map is laid together from small steps, the last one first: at time t each handle is
where its path says, and the step x -> x - u(x) takes it exactly to where the path says at t - dt. u
is the plate's answer to those displacements (landmark flow as in Joshi and Miller 2000, with the
displacement in place of the velocity). A step whose displacement changes by less than a pixel per
pixel folds nothing, and so neither does any number of them; `GRADIENT` keeps well below that. Each
handle is followed where it truly is, so errors of one step are made good by the next.

Everything here is in lattice units, (x, y). All sums run in a fixed order and without BLAS, so the
same edit gives the same bytes whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.discs import Discs
from worker.engines.warp.grid import Grid
from worker.engines.warp.paths import SAMPLES, Paths
from worker.engines.warp.plate import Plate

LARGEST_STEP = 0.25  #: of the whole time
MOST_STEPS = 96
HANDLE_GIVE = 1e-9  #: how far a handle may be missed, times the mean response of the points
SATELLITE_GIVE = 1e-4

Progress = Callable[[float], None]  #: told the share that is done, 0 to 1


@dataclass(frozen=True, slots=True)
class Course:
    """What moves where: the handles' paths, their discs, and the plates of v_x and v_y."""

    paths: Paths
    discs: Discs
    grid: Grid
    plates: tuple[Plate, Plate]

    def offsets_at(self, time: float) -> NDArray[np.float64]:
        """Every satellite's offset from its handle, lattice units."""
        return np.asarray(self.discs.offsets_at(self.paths.spin_at(time)) / self.grid.pitch_px)

    def handles_at(self, time: float) -> NDArray[np.float64]:
        """Where the paths have the handles, lattice units."""
        return self.grid.to_lattice(self.paths.at(time))


def flow_back(
    course: Course, points_2HW: NDArray[np.float32], gradient: float, progress: Progress
) -> bool:
    """Take `points_2HW` back from time 1 to 0, in place.

    gradient: how much the displacement of one step may change from one place to the next, in
        pixels per pixel. False when `MOST_STEPS` were too few to keep to it.
    """
    time, handles, kept = 1.0, course.handles_at(1.0), True
    for left in range(MOST_STEPS, 0, -1):
        progress(1.0 - time)
        push = _Push(course, handles, time)
        slope = push.slope(push.field(time - 1.0 / (SAMPLES - 1)) * (SAMPLES - 1.0))
        step = min(max(min(gradient / max(slope, 1e-9), LARGEST_STEP), time / left), time)
        kept = kept and step * slope <= gradient * 1.01
        time = 0.0 if step >= time * (1 - 1e-9) else time - step
        field = push.field(time).astype(np.float32)
        handles = handles - _look_up(course.grid, field, handles)
        _carry(field, points_2HW)
        if time == 0.0:
            break
    return kept


class _Push:
    """What the plates answer to the points where they are; gives the way back in time."""

    def __init__(self, course: Course, handles_N2: NDArray[np.float64], time: float) -> None:
        self._course = course
        self._handles = handles_N2
        self._offsets = course.offsets_at(time)
        points = np.concatenate([handles_N2, handles_N2[course.discs.owner_S] + self._offsets])
        first = course.plates[0].responses(points)
        same = course.plates[0] is course.plates[1]
        self._responses = (first, first if same else course.plates[1].responses(points))
        self._give = np.full(len(points), SATELLITE_GIVE)
        self._give[: len(handles_N2)] = HANDLE_GIVE

    def field(self, earlier: float) -> NDArray[np.float64]:
        """The displacement, rows x columns x 2, that leads from `earlier` to where things are."""
        course = self._course
        moved = self._handles - course.handles_at(earlier)
        turned = self._offsets - course.offsets_at(earlier)
        wanted = np.concatenate([moved, moved[course.discs.owner_S] + turned])
        field = np.zeros((course.grid.nodes_yx[0] * course.grid.nodes_yx[1], 2))
        for component, (plate, answer) in enumerate(
            zip(course.plates, self._responses, strict=True)
        ):
            scale = float(np.trace(answer.at_points)) / len(wanted) or 1.0
            stiffness = answer.at_points + np.diag(self._give * scale)
            forces = solve_positive(stiffness, wanted[:, component])
            field[plate.nodes, component] = (answer.at_nodes * forces).sum(axis=1)
        return field.reshape(*course.grid.nodes_yx, 2)

    def slope(self, field_HW2: NDArray[np.float64]) -> float:
        """The largest change of the field from one place to the next, pixels per pixel."""
        pitch = self._course.grid.pitch_px
        along_x = np.diff(field_HW2, axis=1)[:-1] * (pitch / pitch[0])
        along_y = np.diff(field_HW2, axis=0)[:, :-1] * (pitch / pitch[1])
        if along_x.size and along_y.size:
            return float(np.sqrt((along_x**2 + along_y**2).sum(axis=2).max()))
        field = np.diff(field_HW2, axis=0 if field_HW2.shape[1] == 1 else 1)
        return float(np.abs(field).max(initial=0.0))


def solve_positive(
    matrix_MM: NDArray[np.float64], right_M: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve a symmetric positive definite system by elimination, in one fixed order."""
    count = len(right_M)
    work = np.concatenate([matrix_MM, right_M[:, None]], axis=1)
    for i in range(count):
        pivot = max(work[i, i], 1e-14 * matrix_MM[i, i])
        work[i] /= pivot
        work[i + 1 :] -= work[i + 1 :, i : i + 1] * work[i]
    for i in range(count - 1, 0, -1):
        work[:i, -1] -= work[:i, i] * work[i, -1]
    return work[:, -1]


def _carry(field_HW2: NDArray[np.float32], points_2HW: NDArray[np.float32]) -> None:
    """Take the field's value at each point from it, in place.

    One plane at a time: OpenCV's lookup of two channels rounds places to 1/32 of a cell, which
    makes false folds; that of one channel does not (`tests/unit/warp/test_flow.py` sees to it).
    """
    x, y = points_2HW
    shifts = [
        cv2.remap(
            np.ascontiguousarray(field_HW2[..., component]),
            x,
            y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for component in (0, 1)
    ]
    x -= shifts[0]
    y -= shifts[1]


def _look_up(
    grid: Grid, field_HW2: NDArray[np.float32], points_N2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The field at points, bilinear."""
    nodes, weights = grid.cells_of(points_N2)
    return np.asarray((field_HW2.reshape(-1, 2)[nodes] * weights[:, :, None]).sum(axis=1))

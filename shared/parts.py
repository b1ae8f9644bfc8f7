"""Which points lie in different parts of a mask: what no engine can drag from one to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shared.edits import Drag, Located, Point, pixel_yx
from shared.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

MAX_RUNS = 50_000  #: of masked pixels in rows, beyond which connection is left to the engine


def check_connected(mask_HW: NDArray[np.bool_], drags: list[Located]) -> list[Violation]:
    """Every drag whose two ends lie in different parts of the mask. All points are masked.

    Parts are told apart generously, diagonal neighbours belong together, so whatever is
    found here no engine could reach. A mask of very many pieces is not judged.
    """
    drags = [located for located in drags if not _leads_straight(mask_HW, located[1])]
    part_of = _parts(mask_HW) if drags else None
    if part_of is None:
        return []
    return [
        Violation(
            f"{pointer}/target",
            "drag_not_reachable",
            "lies in another part of the mask than its handle: nothing can move across",
        )
        for pointer, drag in drags
        if part_of(drag.handle) != part_of(drag.target)
    ]


def _leads_straight(mask_HW: NDArray[np.bool_], drag: Drag) -> bool:
    """Whether the straight way from handle to target is masked: then both lie in one part.

    True of most drags, and found out without a look at the whole mask.
    """
    (top, left), (bottom, right) = pixel_yx(drag.handle), pixel_yx(drag.target)
    pixels = max(abs(bottom - top), abs(right - left)) + 1  # each touches the one before it
    rows = np.rint(np.linspace(top, bottom, pixels)).astype(np.intp)
    columns = np.rint(np.linspace(left, right, pixels)).astype(np.intp)
    return bool(mask_HW[rows, columns].all())


def _parts(mask_HW: NDArray[np.bool_]) -> Callable[[Point], int] | None:
    """Which connected part of the mask holds a point; None for more than `MAX_RUNS` runs."""
    height, width = mask_HW.shape
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = mask_HW
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)  # a run is row, start <= x < end
    _, ends = np.nonzero(steps == -1)
    if len(rows) > MAX_RUNS:
        return None
    first_of_row = np.searchsorted(rows, np.arange(height + 1))
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    for above, below in _touching(first_of_row, starts, ends):
        parents[root(below)] = root(above)

    def part_of(point: Point) -> int:
        row, column = pixel_yx(point)
        run = first_of_row[row] + np.searchsorted(
            starts[first_of_row[row] : first_of_row[row + 1]], column, side="right"
        )
        return root(int(run) - 1)

    return part_of


def _touching(
    first_of_row: NDArray[np.intp], starts: NDArray[np.intp], ends: NDArray[np.intp]
) -> Iterator[tuple[int, int]]:
    """Pairs of runs in neighbouring rows that touch, sideways or at a corner."""
    for row in range(len(first_of_row) - 2):
        above, stop_above = int(first_of_row[row]), int(first_of_row[row + 1])
        below, stop_below = stop_above, int(first_of_row[row + 2])
        while above < stop_above and below < stop_below:
            if starts[above] <= ends[below] and starts[below] <= ends[above]:
                yield above, below
            if ends[above] < ends[below]:
                above += 1
            else:
                below += 1

"""What can be said of a result without knowing the right answer."""

from __future__ import annotations

import resource
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.edits import Drag, Point
from worker.evaluation.cases import Case

PATCH_SHARE = 12 / 512  #: half a patch's side, as a share of the picture's longer side
SMALLEST_PATCH_PX = 6
SEARCH_PATCHES = 3  #: how many such halves around the target are searched


def outside_identical(case: Case, result_HWC: NDArray[np.uint8]) -> bool:
    """Whether every pixel that must stay did, in every channel."""
    outside = ~case.mask_HW
    return result_HWC.shape == case.picture_HWC.shape and bool(
        np.array_equal(result_HWC[outside], case.picture_HWC[outside])
    )


def worst_patch(case: Case, result_HWC: NDArray[np.uint8]) -> tuple[float, float]:
    """The largest distance (px) at which a handle's patch is found, and the smallest score.

    The patch around the handle is looked for around the target, by normalised cross-correlation
    of the grey pictures; the score is 1 for the very same patch.
    """
    before, after = _grey(case.picture_HWC), _grey(result_HWC)
    half = max(SMALLEST_PATCH_PX, round(PATCH_SHARE * max(before.shape)))
    found = [_find_patch(before, after, drag, half) for drag in case.drags]
    return max(error for error, _ in found), min(score for _, score in found)


def forget_peak_rss() -> None:
    """Let the kernel count this process's largest memory anew (Linux; elsewhere nothing)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_rss_mb() -> float:
    """The largest resident memory since `forget_peak_rss`, or ever where that cannot be known."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _find_patch(
    before_HW: NDArray[np.uint8], after_HW: NDArray[np.uint8], drag: Drag, half: int
) -> tuple[float, float]:
    left, top, right, bottom = _window(before_HW, drag.handle, half)
    patch = before_HW[top:bottom, left:right]
    x, y = _whole(drag.handle)
    around = _window(after_HW, drag.target, half * (1 + SEARCH_PATCHES))
    area = after_HW[around[1] : around[3], around[0] : around[2]]
    if area.shape[0] < patch.shape[0] or area.shape[1] < patch.shape[1]:
        return float("nan"), float("nan")
    scores = cv2.matchTemplate(area, patch, cv2.TM_CCOEFF_NORMED)
    _, score, _, (column, row) = cv2.minMaxLoc(np.nan_to_num(scores))
    shift_x = around[0] + column + (x - left) - x
    shift_y = around[1] + row + (y - top) - y
    wanted = drag.target.x - drag.handle.x, drag.target.y - drag.handle.y
    return float(np.hypot(shift_x - wanted[0], shift_y - wanted[1])), float(score)


def _window(picture_HW: NDArray[np.uint8], point: Point, half: int) -> tuple[int, int, int, int]:
    x, y = _whole(point)
    height, width = picture_HW.shape
    return max(0, x - half), max(0, y - half), min(width, x + half + 1), min(height, y + half + 1)


def _whole(point: Point) -> tuple[int, int]:
    return round(point.x), round(point.y)


def _grey(pixels_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels_HWC[..., :3]), cv2.COLOR_RGB2GRAY))

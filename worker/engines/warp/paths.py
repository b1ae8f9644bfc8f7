"""The way of every handle to its target, as a function of the time 0 to 1.

straight    the rule
a screw     all handles turn and grow together (z -> a z + b, gradually), when three or more
            mean that, or when straight ways would bring two of them together
a detour    the shortest way inside the part, when the straight one leaves it
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.detour import find_detour
from worker.engines.warp.grid import Grid
from worker.engines.warp.handles import MERGE_PX, Handles, nearest_others
from worker.engines.warp.region import Part

SAMPLES = 257  #: how finely a path is laid down; between two samples it is straight
COMMON_MOTION = 0.9  #: what a screw must explain of the motion that is not translation
APPROACH = 0.7  #: how near straight ways may bring two handles, as a share of their distance
CROSSING = 0.5  #: nearer than this on the ways chosen, they are said to cross


@dataclass(frozen=True, slots=True)
class Paths:
    """Where every handle is at each of `SAMPLES` times, picture pixels.

    points_TN2: (x, y). spins_T: how far what lies around a handle has turned, radians.
    detours: which handles do not go straight because of the mask.
    """

    points_TN2: NDArray[np.float64]
    spins_T: NDArray[np.float64]
    detours: tuple[int, ...] = ()

    def at(self, time: float) -> NDArray[np.float64]:
        """The handles at a time, N x 2."""
        low, share = _split(time)
        return np.asarray(self.points_TN2[low] * (1 - share) + self.points_TN2[low + 1] * share)

    def spin_at(self, time: float) -> float:
        """The turn at a time."""
        low, share = _split(time)
        return float(self.spins_T[low] * (1 - share) + self.spins_T[low + 1] * share)

    @property
    def cross(self) -> bool:
        """Whether two handles come much closer on their way than they are at its ends."""
        return _approach(self.points_TN2) < CROSSING


class NoWay(Exception):
    """Handles that no way inside the part takes to their targets."""

    def __init__(self, stuck: list[int]) -> None:
        super().__init__(f"handles {stuck} have no way to their targets")
        self.stuck = stuck


def plan_paths(handles: Handles, part: Part, grid: Grid) -> Paths:
    """Choose the ways; `NoWay` when the part has none for some handle."""
    if meeting := np.flatnonzero(nearest_others(handles.targets_N2) < MERGE_PX).tolist():
        raise NoWay(meeting)
    straight = _straight(handles)
    screw = _screw(handles)
    if screw is not None and _inside(screw.points_TN2, part, grid).all():
        together = _approach(straight) < APPROACH < _approach(screw.points_TN2)
        if together or _explains(screw, handles):
            return screw
    blocked = np.flatnonzero(~_inside(straight, part, grid))
    for index in blocked:
        detour = find_detour(handles.starts_N2[index], handles.targets_N2[index], part, grid)
        if detour is None:
            raise NoWay([int(index)])
        straight[:, index] = _resampled(detour)
    return Paths(straight, np.zeros(SAMPLES), tuple(int(i) for i in blocked))


def _split(time: float) -> tuple[int, float]:
    at = min(max(time, 0.0), 1.0) * (SAMPLES - 1)
    low = min(int(at), SAMPLES - 2)
    return low, at - low


def _times() -> NDArray[np.float64]:
    return np.linspace(0.0, 1.0, SAMPLES)


def _straight(handles: Handles) -> NDArray[np.float64]:
    times = _times()[:, None, None]
    return np.asarray(handles.starts_N2 * (1 - times) + handles.targets_N2 * times)


def _fit(handles: Handles) -> tuple[complex, complex]:
    """The similarity z -> a z + b that best takes the handles to their targets (least squares)."""
    start = handles.starts_N2[:, 0] + 1j * handles.starts_N2[:, 1]
    target = handles.targets_N2[:, 0] + 1j * handles.targets_N2[:, 1]
    around = start - start.mean()
    a = complex((around.conj() * (target - target.mean())).sum() / (abs(around) ** 2).sum())
    return a, complex(target.mean() - a * start.mean())


def _screw(handles: Handles) -> Paths | None:
    """Every handle along z(t) = a^t z + b (a^t - 1)/(a - 1), what is left over added evenly."""
    if len(handles) < 2:
        return None
    a, b = _fit(handles)
    if abs(a) < 1e-3:
        return None
    start = handles.starts_N2[:, 0] + 1j * handles.starts_N2[:, 1]
    target = handles.targets_N2[:, 0] + 1j * handles.targets_N2[:, 1]
    times = _times()[:, None]
    power = np.exp(times * np.log(a))
    shift = times if abs(a - 1) < 1e-9 else (power - 1) / (a - 1)
    way = power * start + b * shift + times * (target - a * start - b)
    return Paths(np.stack([way.real, way.imag], axis=2), _times() * float(np.angle(a)))


def _explains(screw: Paths, handles: Handles) -> bool:
    """Whether three or more handles move as one, but for a little."""
    if len(handles) < 3:
        return False
    a, b = _fit(handles)
    start = handles.starts_N2[:, 0] + 1j * handles.starts_N2[:, 1]
    target = handles.targets_N2[:, 0] + 1j * handles.targets_N2[:, 1]
    motion = target - start
    own = (abs(motion - motion.mean()) ** 2).sum()
    left = (abs(target - a * start - b) ** 2).sum()
    return bool(own > 1e-12 and left < (1 - COMMON_MOTION) * own)


def _approach(points_TN2: NDArray[np.float64]) -> float:
    """The smallest distance of a pair on its way, as a share of its smaller one at the ends."""
    count = points_TN2.shape[1]
    if count < 2:
        return 1.0
    first, second = np.triu_indices(count, 1)
    apart = np.hypot(*(points_TN2[::4, first] - points_TN2[::4, second]).transpose(2, 0, 1))
    return float((apart.min(axis=0) / np.maximum(np.minimum(apart[0], apart[-1]), 1e-9)).min())


def _inside(points_TN2: NDArray[np.float64], part: Part, grid: Grid) -> NDArray[np.bool_]:
    """For each way, whether it keeps to where the field can move it."""
    needed = clearance_px(points_TN2[[0, -1]], part, grid)
    depth = part.depth_at(points_TN2.reshape(-1, 2)).reshape(points_TN2.shape[:2])
    return np.asarray((depth >= needed - 1e-6).all(axis=0))


def clearance_px(ends_2N2: NDArray[np.float64], part: Part, grid: Grid) -> NDArray[np.float64]:
    """How deep inside a way must stay: two cells, or as deep as its shallower end."""
    ends = part.depth_at(ends_2N2.reshape(-1, 2)).reshape(2, -1).min(axis=0)
    return np.asarray(np.minimum(2.0 * grid.pitch_px.max(), ends))


def _resampled(way_K2: NDArray[np.float64]) -> NDArray[np.float64]:
    """A polyline at `SAMPLES` places, evenly by length."""
    steps = np.hypot(*np.diff(way_K2, axis=0).T)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    places = _times() * length[-1]
    return np.stack([np.interp(places, length, way_K2[:, axis]) for axis in (0, 1)], axis=1)

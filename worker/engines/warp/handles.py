"""The drags of one round as arrays, those with the same handle merged, and how close they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.edits import Drag

MERGE_PX = 1.0  #: handles closer than this are one


@dataclass(frozen=True, slots=True)
class Handles:
    """N handles and their targets, N x 2, (x, y) in picture pixels.

    drags: for each handle the places, in the round, of the drags that it stands for.
    """

    starts_N2: NDArray[np.float64]
    targets_N2: NDArray[np.float64]
    drags: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.drags)

    @property
    def merged(self) -> tuple[tuple[int, ...], ...]:
        """The groups of more than one."""
        return tuple(group for group in self.drags if len(group) > 1)

    @property
    def lengths_px(self) -> NDArray[np.float64]:
        return np.asarray(np.hypot(*(self.targets_N2 - self.starts_N2).T))

    @property
    def closest_px(self) -> float:
        """The smallest distance between two handles or two targets; infinite for one."""
        return float(
            min(nearest_others(self.starts_N2).min(), nearest_others(self.targets_N2).min())
        )

    def only(self, chosen: Sequence[int]) -> Handles:
        """Some of them."""
        rows = list(chosen)
        return Handles(
            self.starts_N2[rows], self.targets_N2[rows], tuple(self.drags[i] for i in rows)
        )


def gather_handles(drags: Sequence[Drag]) -> Handles:
    """Merge drags whose handles are closer than `MERGE_PX`; a group is the mean of its drags."""
    starts = np.array([(d.handle.x, d.handle.y) for d in drags], float)
    targets = np.array([(d.target.x, d.target.y) for d in drags], float)
    groups: list[list[int]] = []
    for index, start in enumerate(starts):
        for group in groups:
            if np.hypot(*(starts[group[0]] - start)) < MERGE_PX:
                group.append(index)
                break
        else:
            groups.append([index])
    return Handles(
        np.stack([starts[group].mean(axis=0) for group in groups]),
        np.stack([targets[group].mean(axis=0) for group in groups]),
        tuple(tuple(group) for group in groups),
    )


def nearest_others(points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """From each point to the nearest other one."""
    apart = np.hypot(*(points_N2[:, None] - points_N2[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(axis=1))

"""Short ways to say an edit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.edits import Drag, Point
from worker.engines.base import Edit, Outcome
from worker.engines.warp.engine import WarpEngine


class Unwatched:
    """Remembers what it was told and ends nothing."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def step(self, done: int, steps: int) -> None:
        self.told.append((done, steps))


def drag(handle_x: float, handle_y: float, target_x: float, target_y: float) -> Drag:
    return Drag(Point(handle_x, handle_y), Point(target_x, target_y))


def edit(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], *rounds: list[Drag], **options: object
) -> Edit:
    return Edit(picture, mask, tuple(tuple(drags) for drags in rounds), options=options)


def warp(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], *rounds: list[Drag], **options: object
) -> Outcome:
    return WarpEngine().run(edit(picture, mask, *rounds, **options), Unwatched())


def result(outcome: Outcome) -> NDArray[np.uint8]:
    return outcome.candidates[0].picture_HWC


def codes(outcome: Outcome) -> list[str]:
    return [warning.code for warning in outcome.warnings]

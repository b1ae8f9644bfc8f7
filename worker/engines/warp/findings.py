"""What a round has to say for itself: warnings, refusals, and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from shared.borders import NEAR_BORDER_PX
from shared.errors import DragNotReachable, WarpFolds
from worker.engines.base import EditWarning
from worker.engines.warp.field import Field
from worker.engines.warp.handles import Handles

SMEARED = 3.0  #: stretch at 99 % of the part that shows
EXTREME = 8.0


@dataclass(frozen=True, slots=True)
class Round:
    """One round: its place among `of`, its handles, the fields that moved them, what was filled.

    near_border: drags of which a point lies closer than `NEAR_BORDER_PX` to the border.
    """

    place: int
    of: int
    handles: Handles
    fields: tuple[Field, ...]
    holes_filled: int
    near_border: tuple[int, ...]

    @property
    def name(self) -> str:
        """How a text begins that is about this round."""
        return "" if self.of == 1 else f"Round {self.place}: "

    @property
    def target_error_px(self) -> float:
        return float(max((field.errors_px.max() for field in self.fields), default=0.0))

    @property
    def min_jacobian(self) -> float:
        return min((field.shape.min_jacobian for field in self.fields), default=1.0)

    @property
    def p99_stretch(self) -> float:
        return max((field.shape.p99_stretch for field in self.fields), default=1.0)

    @property
    def max_stretch(self) -> float:
        return max((field.shape.max_stretch for field in self.fields), default=1.0)


def raise_unless_arrived(found: Round) -> None:
    """`DragNotReachable`, saying how far every handle got, if one did not arrive."""
    if all(field.arrived for field in found.fields):
        return
    ways = []
    for field in found.fields:
        lengths = field.handles.lengths_px
        for group, length, error in zip(field.handles.drags, lengths, field.errors_px, strict=True):
            got = max(0.0, length - error) if np.isfinite(error) else 0.0
            ways.append((group[0], f"drag {_named(group)} got {got:.1f} of {length:.1f} px"))
    told = ", ".join(text for _, text in sorted(ways))
    raise DragNotReachable(f"{found.name}The mask leaves no way to every target: {told}.")


def raise_if_folded(found: Round) -> None:
    """`WarpFolds` if the field lays the picture over itself anywhere."""
    if found.min_jacobian <= 0:
        raise WarpFolds(f"{found.name}{_FOLDED}")


def warnings_of(found: Round) -> Iterator[EditWarning]:
    """Everything the caller should know, each kind once."""
    for code, detail in _findings(found):
        yield EditWarning(code, f"{found.name}{detail}")


_FOLDED = "The field folds: somewhere the picture lies over itself."


def _findings(found: Round) -> Iterator[tuple[str, str]]:
    if merged := found.handles.merged:
        groups = "; ".join(_named(group) for group in merged)
        yield "drags_merged", f"Handles less than 1 px apart were moved as one: drags {groups}."
    if not found.fields:
        yield "zero_drags", "Every handle is its own target: nothing was moved."
        return
    if found.holes_filled:
        yield "mask_holes_ignored", f"{found.holes_filled} small holes of the mask were ignored."
    if found.near_border:
        near = _named(found.near_border)
        yield "point_near_border", f"Closer than {NEAR_BORDER_PX:g} px to the border: drags {near}."
    yield from _ways(found)
    yield from _stretches(found)


def _ways(found: Round) -> Iterator[tuple[str, str]]:
    ways = [(field.handles, field.paths) for field in found.fields if field.paths is not None]
    if any(paths.cross for _, paths in ways):
        yield "paths_cross", "The ways of two handles cross or nearly meet."
    around = [handles.drags[i][0] for handles, paths in ways for i in paths.detours]
    if around:
        yield "detour", f"The straight way leaves the mask: drags {_named(sorted(around))}."


def _stretches(found: Round) -> Iterator[tuple[str, str]]:
    if found.p99_stretch > EXTREME:
        yield "extreme", f"The picture is stretched up to {found.p99_stretch:.0f} times."
    elif found.p99_stretch > SMEARED:
        yield "smeared", f"The picture is stretched up to {found.p99_stretch:.1f} times."
    if found.min_jacobian <= 0:
        yield "warp_folds", _FOLDED


def _named(drags: Sequence[int]) -> str:
    return ", ".join(str(index) for index in drags)

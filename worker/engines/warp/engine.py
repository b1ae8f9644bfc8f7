"""The `warp` engine: moves the masked part of a picture onto itself, every handle to its target.

    mask ──region──▶ parts ─┐
    drags ─handles─▶ groups ┴──field──▶ backward map ──render──▶ picture

No weights, no randomness: the same edit gives the same bytes. See `docs/engines/warp.md`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.borders import NEAR_BORDER_PX, border_distance_px
from shared.edits import Drag, locate
from shared.engines import ENGINES
from shared.errors import DragNotReachable, InvalidRequest
from shared.placement import check_placement
from worker.engines.base import Candidate, Edit, Outcome, Watch
from worker.engines.warp.field import FULL, PREVIEW, Quality, find_fields
from worker.engines.warp.findings import (
    Round,
    raise_if_folded,
    raise_unless_arrived,
    warnings_of,
)
from worker.engines.warp.handles import gather_handles
from worker.engines.warp.region import find_region
from worker.engines.warp.render import render
from worker.engines.warp.steps import RoundSteps

if TYPE_CHECKING:
    from shared.settings import Settings

INSET_PX = ENGINES["warp"].border_px
FIELD_SHARE = 0.6  #: of a round's steps; the rest is rendering

Pixels = NDArray[np.uint8]


class WarpEngine:
    """Stateless, so any number of threads may call it at once."""

    name = "warp"
    model_digest = "warp-1"

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        """Move every round's handles to their targets; `InvalidRequest` or `EngineError` if not.

        measures: `target_error_px`, `p99_stretch` and `max_stretch`, the largest of all rounds,
        and `min_jacobian`, the smallest.
        """
        located = locate(edit.rounds, is_single=len(edit.rounds) == 1)
        faults = check_placement(edit.mask_HW, list(chain(*located)), INSET_PX)
        if faults and {fault.code for fault in faults} != {DragNotReachable.code}:
            raise InvalidRequest(faults)  # a drag out of reach is refused with how far it got
        quality = PREVIEW if edit.options.get("quality") == "preview" else FULL
        picture, rounds = edit.picture_HWC, []
        for place in range(len(edit.rounds)):
            steps = RoundSteps(watch, place, len(edit.rounds))
            found = _find_round(edit, place, quality, steps)
            raise_unless_arrived(found)
            if edit.options.get("strict"):
                raise_if_folded(found)
            picture = _render_round(picture, edit.mask_HW, found, quality, steps)
            rounds.append(found)
        return Outcome(
            candidates=(Candidate(picture, edit.seed),),
            warnings=tuple(warning for found in rounds for warning in warnings_of(found)),
            measures={
                "target_error_px": max(found.target_error_px for found in rounds),
                "min_jacobian": min(found.min_jacobian for found in rounds),
                "p99_stretch": max(found.p99_stretch for found in rounds),
                "max_stretch": max(found.max_stretch for found in rounds),
            },
        )


def load(_: Settings) -> WarpEngine:
    """The engine; it has no settings."""
    return WarpEngine()


def _find_round(edit: Edit, place: int, quality: Quality, steps: RoundSteps) -> Round:
    """The fields of one round, before anything is drawn."""
    steps.reach(0.0)
    drags = edit.rounds[place]
    handles = gather_handles(drags)
    if not (handles.lengths_px > 0).any():
        return Round(place, len(edit.rounds), handles, (), 0, ())
    region = find_region(edit.mask_HW)
    fields = tuple(find_fields(region, handles, quality, steps.between(0.0, FIELD_SHARE)))
    near = tuple(index for index, drag in enumerate(drags) if _is_near(edit.mask_HW, drag))
    return Round(place, len(edit.rounds), handles, fields, region.holes_filled, near)


def _is_near(mask_HW: NDArray[np.bool_], drag: Drag) -> bool:
    ends = (drag.handle, drag.target)
    return any(border_distance_px(mask_HW, point) < NEAR_BORDER_PX for point in ends)


def _render_round(
    picture_HWC: Pixels,
    mask_HW: NDArray[np.bool_],
    found: Round,
    quality: Quality,
    steps: RoundSteps,
) -> Pixels:
    """The picture after one round; a new one, whatever happened."""
    out = picture_HWC.copy()
    for number, field in enumerate(found.fields):
        if field.dense is not None:
            low, high = (
                FIELD_SHARE + (1 - FIELD_SHARE) * n / len(found.fields)
                for n in (number, number + 1)
            )
            progress = steps.between(low, high)
            render(picture_HWC, out, mask_HW, field.part, field.dense, quality.averaged, progress)
    steps.reach(1.0)
    return out

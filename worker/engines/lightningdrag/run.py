"""One edit on its way through the rounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from shared.canvas import (
    Size,
    canvas_size,
    canvas_violations,
    mask_to_canvas,
    point_to_canvas,
    to_canvas,
)
from shared.edits import Drag, check_points, locate
from shared.errors import InvalidRequest, Violation
from shared.rounds import split_rounds
from worker.engines.base import Candidate, Edit, EditWarning, Outcome, Watch
from worker.engines.lightningdrag.batch import CanvasEdit, Pixels
from worker.engines.lightningdrag.composite import Seam, composite
from worker.engines.lightningdrag.config import DEFAULTS, Sampling, SchedulerName
from worker.engines.lightningdrag.points import Pairs
from worker.engines.lightningdrag.randomness import candidate_seed, round_seed

OPAQUE = 255
BEHIND = 255.0  #: white: what the model sees behind a picture that lets something through


@dataclass(frozen=True, slots=True)
class Start:
    """An edit on its canvas, before its first round.

    rounds: after splitting. first: what the first of them asks of the model.
    """

    edit: Edit
    rounds: tuple[tuple[Drag, ...], ...]
    first: CanvasEdit


class Run:
    """An edit, and how far it is.

    pictures: on the canvas, one until the first round is done, then one per candidate. `place`
    rounds are done. stopped_by: what the watch raised.
    """

    def __init__(self, start: Start, watch: Watch | None = None) -> None:
        self.edit, self.rounds, self.first = start.edit, start.rounds, start.first
        self.watch = watch
        self.pictures: list[Pixels] = [self.first.picture_HWC]
        self.place = 0
        self.stopped_by: Exception | None = None
        self.after_step(-1)

    @property
    def is_going(self) -> bool:
        """Whether another round is due."""
        return self.stopped_by is None and self.place < len(self.rounds)

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per candidate: each gives its candidate again, alone."""
        return self.first.seeds

    def canvas_edits(self) -> Iterator[CanvasEdit]:
        """What this round asks of the model: one edit per picture to start from."""
        size = (self.first.mask_HW.shape[1], self.first.mask_HW.shape[0])
        pairs = pairs_on_canvas(self.rounds[self.place], picture_size(self.edit), size)
        seeds = tuple(round_seed(seed, self.place) for seed in self.seeds)
        each_has_its_own = len(self.pictures) == len(seeds)
        shares = [(seed,) for seed in seeds] if each_has_its_own else [seeds]
        for picture, own in zip(self.pictures, shares, strict=True):
            yield replace(self.first, picture_HWC=picture, pairs=pairs, seeds=own)

    def after_step(self, index: int) -> None:
        """Tell the watch; what it raises ends this run."""
        if self.watch is None or self.stopped_by is not None:
            return
        steps = self.first.steps
        try:
            self.watch.step(self.place * steps + index + 1, len(self.rounds) * steps)
        except Exception as stop:  # noqa: BLE001 - raised to whoever asked, by `outcome`
            self.stopped_by = stop

    def take(self, made: list[Pixels]) -> None:
        """The candidates of this round, with which the next one starts."""
        if self.stopped_by is None:
            before = self.pictures * (len(made) // len(self.pictures))
            kept = zip(before, made, strict=True)
            self.pictures = [self._carried(*pair) for pair in kept]
            self.place += 1

    def _carried(self, before: Pixels, made: Pixels) -> Pixels:
        """What the next round starts from: where nothing may change, nothing wears off."""
        is_last = self.place + 1 == len(self.rounds)
        if is_last or self.edit.options.get("output") == "canvas":
            return made
        return composite(before, made, self.first.mask_HW)

    def outcome(self) -> Outcome:
        """The candidates as the caller wants them, once no round is due."""
        height, width = self.first.mask_HW.shape
        return Outcome(
            candidates=tuple(map(Candidate, self._finished(), self.seeds)),
            warnings=tuple(_warnings(self.edit, self.rounds)),
            measures={
                "canvas_width": width,
                "canvas_height": height,
                "rounds": len(self.rounds),
            },
        )

    def _finished(self) -> list[Pixels]:
        if self.edit.options.get("output") == "canvas":
            return self.pictures
        seam = Seam(self.edit.mask_HW, self.first.mask_HW.shape)
        return [seam.sew(self.edit.picture_HWC, canvas) for canvas in self.pictures]


def start_of(edit: Edit, scheduler: SchedulerName) -> Start:
    """Put an edit on the canvas; `InvalidRequest` for all that is wrong with it there."""
    options = edit.options
    _check(edit)
    rounds = split_rounds(edit.rounds, options.get("split_px"))
    asked = asked_of(edit, scheduler)
    size = canvas_size(*picture_size(edit))
    first = CanvasEdit(
        picture_HWC=to_canvas(without_alpha(edit.picture_HWC), size),
        mask_HW=mask_to_canvas(edit.mask_HW, size),
        pairs=pairs_on_canvas(rounds[0], picture_size(edit), size),
        seeds=tuple(candidate_seed(edit.seed, index) for index in range(edit.candidates)),
        steps=asked.steps,
        guidance=asked.guidance,
        guidance_decay=asked.guidance_decay,
    )
    first.check(scheduler)
    return Start(edit, rounds, first)


def pairs_on_canvas(drags: tuple[Drag, ...], picture: Size, canvas: Size) -> Pairs:
    """The drags' pixels on the canvas."""
    return Pairs(
        tuple(point_to_canvas(drag.handle, picture, canvas) for drag in drags),
        tuple(point_to_canvas(drag.target, picture, canvas) for drag in drags),
    )


def picture_size(edit: Edit) -> Size:
    """Width and height."""
    height, width = edit.picture_HWC.shape[:2]
    return width, height


def without_alpha(picture_HWC: Pixels) -> Pixels:
    """RGB; what a picture with alpha lets through is white."""
    if picture_HWC.shape[2] == 3:
        return picture_HWC
    alpha = picture_HWC[..., 3:].astype(np.float32) / OPAQUE
    seen = alpha * picture_HWC[..., :3] + (1 - alpha) * BEHIND
    return np.rint(seen).astype(np.uint8)


def asked_of(edit: Edit, scheduler: SchedulerName) -> Sampling:
    """Steps and guidance of an edit, the scheduler's defaults where it says nothing."""
    names = ("steps", "guidance", "guidance_decay")
    given = {name: edit.options[name] for name in names if edit.options.get(name) is not None}
    return replace(DEFAULTS[scheduler], **given)


def _check(edit: Edit) -> None:
    """Everything that is wrong with an edit, at once; the API has looked at the same."""
    located = locate(edit.rounds, is_single=len(edit.rounds) == 1)
    found = [
        violation for drags in located for violation in check_points(drags, *picture_size(edit))
    ]
    if edit.mask_HW.shape != edit.picture_HWC.shape[:2]:
        found.append(Violation("/mask", "mask_size_mismatch", "not of the picture's size"))
    if not found:
        found = canvas_violations(located, edit.mask_HW, picture_size(edit))
    if found:
        raise InvalidRequest(found)


def _warnings(edit: Edit, rounds: tuple[tuple[Drag, ...], ...]) -> Iterator[EditWarning]:
    if edit.picture_HWC.shape[2] == 4 and (edit.picture_HWC[edit.mask_HW, 3] < OPAQUE).any():
        yield EditWarning("alpha_kept", "the picture's transparency stays where it was")
    located = locate(rounds, is_single=len(rounds) == 1)
    if canvas_violations(located, None, picture_size(edit)):
        yield EditWarning(
            "points_meet", "on the way of the split drags two points meet on one pixel: one is lost"
        )

"""The edits of one pass: what each is, what they must share, what is drawn for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.canvas import LATENT_PX, SIDE_STEP_PX
from worker.engines.lightningdrag.build import Model
from worker.engines.lightningdrag.config import SchedulerName
from worker.engines.lightningdrag.guidance import DECAYS, guided_steps
from worker.engines.lightningdrag.points import Pairs, check_pairs
from worker.engines.lightningdrag.randomness import Draws, draw, join
from worker.engines.lightningdrag.sampling import Sampler, check_steps, make_sampler

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shape:
    """What edits must have in common to be denoised together. Sides in pixels of the canvas.

    guided: how many of the first steps are guided.
    """

    height: int
    width: int
    steps: int
    guided: int


@dataclass(frozen=True, slots=True)
class CanvasEdit:
    """One edit on the canvas, one seed per candidate.

    picture_HWC: uint8, RGB. mask_HW: True may change; none at all is legal, and keeps everything.
    guidance_steps: how many of the first steps are guided; None means all.
    draws: recorded ones instead of those that the seeds give.
    """

    picture_HWC: Pixels
    mask_HW: NDArray[np.bool_]
    pairs: Pairs
    seeds: tuple[int, ...]
    steps: int
    guidance: float
    guidance_decay: str = "inv_square"
    guidance_steps: int | None = None
    prompt: str = ""
    negative_prompt: str = ""
    draws: Draws | None = None

    @property
    def shape(self) -> Shape:
        """What another edit must share to be run with this one."""
        height, width = self.mask_HW.shape
        guided = guided_steps(self.guidance, self.steps, self.guidance_steps)
        return Shape(height, width, self.steps, guided)

    def check(self, scheduler: SchedulerName) -> None:
        """`ValueError` for an edit that cannot be run, before anything is."""
        height, width = self.mask_HW.shape
        for side in (height, width):
            if side < SIDE_STEP_PX or side % SIDE_STEP_PX:
                raise ValueError(
                    f"a side of the canvas is a multiple of {SIDE_STEP_PX}, not {side}"
                )
        if self.picture_HWC.shape != (height, width, 3):
            raise ValueError(f"a picture {self.picture_HWC.shape} with a mask {height} x {width}")
        if not self.seeds:
            raise ValueError("an edit has at least one candidate")
        if self.guidance_decay not in DECAYS:
            raise ValueError(f"no decay {self.guidance_decay}; there are {', '.join(DECAYS)}")
        check_steps(scheduler, self.steps)
        check_pairs(self.pairs, height, width)


@dataclass(frozen=True, slots=True)
class Batch:
    """The edits of one pass: E of them, N candidates, one edit's after the other's."""

    edits: tuple[CanvasEdit, ...]
    shape: Shape
    sampler: Sampler
    draws: Draws
    edit_of_N: Tensor

    def rows(self, number: int) -> slice:
        """Where the candidates of an edit are among all."""
        start = sum(len(edit.seeds) for edit in self.edits[:number])
        return slice(start, start + len(self.edits[number].seeds))


def gather(edits: Sequence[CanvasEdit], model: Model) -> Batch:
    """Check the edits, put them together, and make every draw that they need."""
    for edit in edits:
        edit.check(model.scheduler)
    shapes = {edit.shape for edit in edits}
    if len(shapes) != 1:
        raise ValueError(f"edits of one batch have one shape, not {len(shapes)}")
    shape = shapes.pop()
    sampler = make_sampler(model.scheduler, model.scheduler_config, shape.steps)
    height, width = shape.height // LATENT_PX, shape.width // LATENT_PX
    draws = [edit.draws or draw(edit.seeds, sampler.draws, height, width) for edit in edits]
    owners = [number for number, edit in enumerate(edits) for _ in edit.seeds]
    return Batch(
        tuple(edits),
        shape,
        sampler,
        join(draws).to(model.device),
        torch.tensor(owners, device=model.device),
    )

"""Runs every fixed pass once, when the worker starts, so that no job waits for a compiler."""

from __future__ import annotations

import numpy as np

from shared.canvas import LATENT_PX
from worker.engines.lightningdrag.batch import CanvasEdit
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.points import Pairs
from worker.engines.lightningdrag.speed import Pass, Speed

STEPS = 2
GUIDED, UNGUIDED = 3.0, 1.0


def warm_up(pipeline: Pipeline, speed: Speed) -> None:
    """A blank edit of each fixed size, start to end: compiles, captures, and fills the caches."""
    for place in speed.fixed:
        pipeline([blank_edit(place)])


def blank_edit(place: Pass) -> CanvasEdit:
    """An edit that needs just this pass."""
    height, width = place.height * LATENT_PX, place.width * LATENT_PX
    return CanvasEdit(
        picture_HWC=np.full((height, width, 3), 127, np.uint8),
        mask_HW=np.ones((height, width), np.bool_),
        pairs=Pairs(((0, 0),), ((height - 1, width - 1),)),
        seeds=tuple(range(place.candidates)),
        steps=STEPS,
        guidance=GUIDED if place.guided else UNGUIDED,
    )

"""The tiny model of the golden data, and short ways to say an edit on its canvas."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.golden.place import CHECKPOINTS
from worker.engines.lightningdrag.batch import CanvasEdit
from worker.engines.lightningdrag.build import Model, build_model
from worker.engines.lightningdrag.config import ModelConfig, SchedulerName
from worker.engines.lightningdrag.points import Pairs

HEIGHT, WIDTH = 64, 128


@cache
def tiny_model(scheduler: SchedulerName = "lcm") -> Model:
    return build_model(ModelConfig(CHECKPOINTS, scheduler))


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Smooth, and something to see everywhere; another seed, another picture."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [np.sin(x / (5 + seed) + c) + np.cos(y / (4 + c + seed)) for c in range(3)]
    return np.clip(128 + 60 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def canvas_edit(seed: int = 0, candidates: int = 1, **changed: Any) -> CanvasEdit:
    """Another seed is another edit in every respect but its shape."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[8 : 40 + seed, 16 + 2 * seed : 100] = True
    edit = CanvasEdit(
        picture_HWC=picture(seed),
        mask_HW=mask,
        pairs=Pairs(
            ((20 + seed, 30), (30, 70))[: 1 + seed % 2], ((30, 60), (12, 90))[: 1 + seed % 2]
        ),
        seeds=tuple(1000 * seed + index for index in range(candidates)),
        steps=3,
        guidance=2.0 + seed,
        guidance_decay=("inv_square", "linear", "none")[seed % 3],
    )
    return replace(edit, **changed)

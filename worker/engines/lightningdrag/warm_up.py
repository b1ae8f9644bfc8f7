"""Makes every fixed pass when the worker starts, and finds out where it pays.

Compiled and captured calls are made here, so that no job waits for one. A padded pass does work
that nobody asked for: two candidates in a pass of eight may well be slower than by themselves. So
each pass is timed, and the plain call for fewer and fewer candidates until that is quicker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import structlog
import torch
from diffusers import UNet2DConditionModel

from shared.canvas import LATENT_PX
from worker.engines.lightningdrag.attention import BlockConditioning, Conditioning
from worker.engines.lightningdrag.batch import CanvasEdit
from worker.engines.lightningdrag.config import BLOCKS, IMAGE_TOKENS, LATENT_CHANNELS
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.points import Pairs
from worker.engines.lightningdrag.speed import (
    EagerPredictor,
    FixedPredictor,
    Pass,
    Predictor,
    Speed,
    at_work,
)
from worker.engines.lightningdrag.text import TEXT_TOKENS

log = structlog.get_logger()

STEPS = 2
GUIDED, UNGUIDED = 3.0, 1.0
TIMES = 3  #: that a call is timed, after one that is not

Timer = Callable[[Callable[[], object], torch.device], float]


def warm_up(pipeline: Pipeline, speed: Speed, timer: Timer | None = None) -> None:
    """Make every fixed pass, and weigh each against the plain call."""
    make_passes(pipeline, speed)
    if isinstance(pipeline.predictor, FixedPredictor):
        with at_work(pipeline.model.device, speed):
            weigh(pipeline.predictor, speed, timer or seconds_of)


def make_passes(pipeline: Pipeline, speed: Speed) -> None:
    """A blank edit of each fixed size, start to end: compiles, captures, and fills the caches."""
    with at_work(pipeline.model.device, speed, may_compile=True):
        for place in speed.fixed:
            pipeline([blank_edit(place)])


@torch.inference_mode()
def weigh(predictor: FixedPredictor, speed: Speed, timer: Timer) -> None:
    """Find out from how many candidates on each fixed pass is quicker than the plain call."""
    for place in speed.fixed:
        found = _pays_from(predictor, place, timer)
        predictor.take_from(place, found)
        log.info("pass_ready", **place._asdict(), pays=found <= place.candidates, pays_from=found)


def _pays_from(predictor: FixedPredictor, place: Pass, timer: Timer) -> int:
    """One more than the most candidates for which the plain call is quicker than the pass."""
    unet, plain = predictor.unet, EagerPredictor(predictor.unet)
    fixed_s = timer(one_call(predictor, unet, place), unet.device)
    for candidates in range(place.candidates, 0, -1):
        call = one_call(plain, unet, place._replace(candidates=candidates))
        if timer(call, unet.device) < fixed_s:
            return candidates + 1
    return 1


def one_call(predictor: Predictor, unet: UNet2DConditionModel, place: Pass) -> Callable[[], object]:
    """A call of the UNet for a blank batch of this size."""
    latents = torch.Size((place.candidates, LATENT_CHANNELS, place.height, place.width))
    predict = predictor.on(blank_conditioning(unet, place), latents)
    shape = (place.candidates, unet.config["in_channels"], place.height, place.width)
    sample = torch.zeros(shape, device=unet.device, dtype=unet.dtype)
    timestep = torch.zeros((), device=unet.device, dtype=torch.int64)
    return lambda: predict(sample, timestep)


def blank_conditioning(unet: UNet2DConditionModel, place: Pass) -> Conditioning:
    """Zeros in the shape of what edits of this pass say to the UNet."""
    device, dtype = unet.device, unet.dtype  # diffusers looks through all of its modules for them
    rows = place.candidates * (2 if place.guided else 1)
    found = {}
    for block in BLOCKS:
        tokens = (place.height * place.width) >> (2 * block.level)
        channels = unet.config["block_out_channels"][block.level]
        counts = (tokens, tokens, TEXT_TOKENS, TEXT_TOKENS, IMAGE_TOKENS, IMAGE_TOKENS)
        sizes = [(place.candidates, tokens), *((rows, count) for count in counts)]
        found[block.name] = BlockConditioning(
            *(torch.zeros(*size, channels, device=device, dtype=dtype) for size in sizes)
        )
    return found


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """How long a call takes: the median of some, after one that is not counted."""
    return median([_timed(call, device) for _ in range(1 + TIMES)][1:])


def _timed(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


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

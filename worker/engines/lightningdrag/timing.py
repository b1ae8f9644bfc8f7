"""What `bench.py` measures: variants of the switches, works, and how long each takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shared.canvas import LATENT_PX
from worker.engines.lightningdrag.batch import CanvasEdit, gather
from worker.engines.lightningdrag.build import DTYPES
from worker.engines.lightningdrag.config import DEFAULTS, DtypeName
from worker.engines.lightningdrag.flops import (
    FULL_SIZE,
    SIDE_PX,
    TERA,
    blank_model,
    count,
    demo_edit,
)
from worker.engines.lightningdrag.networks import Configs
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.speed import Pass, Speed, at_work, speed_up
from worker.engines.lightningdrag.warm_up import make_passes

GIBI = 2**30

#: Candidates of each edit that is run together.
WORK: dict[str, tuple[int, ...]] = {
    "1 candidate": (1,),
    "4 candidates": (4,),
    "8 jobs of 1": (1,) * 8,
}
COMPARED = "4 candidates"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is."""

    name: str
    configs: Configs
    side_px: int
    steps: int
    matrix_side: int


_TINY_UNET = {
    "block_out_channels": (32,) * 4,
    "layers_per_block": 2,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
}
_TINY_CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
FULL = Sizes("full", FULL_SIZE, SIDE_PX, DEFAULTS["lcm"].steps, matrix_side=8192)
TINY = Sizes(
    "tiny",
    Configs(
        unet={**_TINY_UNET, "in_channels": 9},
        appearance={**_TINY_UNET, "in_channels": 4},
        vae={**FULL_SIZE.vae, "block_out_channels": (32,) * 4, "layers_per_block": 1},
        text={**_TINY_CLIP, "num_hidden_layers": 2},
        image={**_TINY_CLIP, "num_hidden_layers": 2, "patch_size": 14, "image_size": 224},
        point_width=2,
    ),
    side_px=64,
    steps=2,
    matrix_side=256,
)


class Variant(NamedTuple):
    """A precision and its switches, and the works that are timed with them."""

    name: str
    dtype: DtypeName
    speed: Speed
    works: tuple[str, ...] = tuple(WORK)


def variants(sizes: Sizes, half: DtypeName = "float16") -> list[Variant]:
    """Each switch alone, then together; what takes long to prepare comes last.

    half: the precision that the switches are timed in. On a CPU float16 is no gain.
    """
    side = sizes.side_px // LATENT_PX
    passes = {work: Pass(side, side, sum(each), guided=True) for work, each in WORK.items()}
    last, one = Speed(channels_last=True), (passes[COMPARED],)
    graphs = Speed(cuda_graphs=True, fixed=tuple(passes.values()))
    both = Speed(channels_last=True, compile=True, cuda_graphs=True, fixed=one)
    return [
        Variant("float32", "float32", Speed()),
        Variant("float16", "float16", Speed()),
        Variant("bfloat16", "bfloat16", Speed()),
        Variant(f"{half}, channels last", half, last),
        Variant(f"{half}, flash", half, Speed(kernels=("flash", "efficient", "math"))),
        Variant(f"{half}, cudnn", half, Speed(kernels=("cudnn", "efficient", "math"))),
        Variant(f"{half}, graphs", half, graphs),
        Variant(f"{half}, graphs, channels last", half, replace(graphs, channels_last=True)),
        Variant(f"{half}, compiled", half, Speed(compile=True, fixed=one), (COMPARED,)),
        Variant(f"{half}, all together", half, both, (COMPARED,)),
    ]


def edits_of(work: str, sizes: Sizes) -> list[CanvasEdit]:
    """The edits of a work, every one with a picture and seeds of its own."""
    random = np.random.default_rng(0)
    edits = []
    for number, each in enumerate(WORK[work]):
        edit = demo_edit(each, sizes.side_px, sizes.steps)
        picture = random.integers(0, 256, edit.picture_HWC.shape, np.uint8)
        seeds = tuple(100 * number + index for index in range(each))
        edits.append(replace(edit, picture_HWC=picture, seeds=seeds))
    return edits


class Times(NamedTuple):
    """Of one work: a pass, the most memory (weights included; 0 where nobody counts), the floor.

    rel: how far the final latents are from the first variant's, for the work that is compared.
    ready_s: what it took to make the model, and to compile or capture.
    """

    work: str
    taken_ms: float
    gib: float
    of_floor: float
    rel: float | None
    ready_s: float


class Bench:
    """One device, one set of sizes."""

    def __init__(self, device: str, sizes: Sizes = FULL, repeats: int = 5) -> None:
        self.device = torch.device(device)
        self.sizes, self.repeats = sizes, repeats
        self._tera_per_s: dict[DtypeName, float] = {}
        self._exact: Tensor | None = None

    def counted(self) -> dict[str, float]:
        """TFLOP of each work."""
        alone = {}
        for candidates in (1, 4):
            edit = demo_edit(candidates, self.sizes.side_px, self.sizes.steps)
            parts = count(Pipeline(blank_model(self.sizes.configs)), edit)
            alone[candidates] = sum(parts.values())
        return {work: sum(alone[n] for n in each) for work, each in WORK.items()}

    def times(self, variant: Variant, counted: dict[str, float]) -> Iterator[Times]:
        """The times of each work of a variant."""
        start = time.monotonic()
        pipeline = self._pipeline(variant)
        make_passes(pipeline, variant.speed)  # each is taken, whether it pays or not
        ready_s = time.monotonic() - start
        with at_work(self.device, variant.speed):
            for work in variant.works:
                taken_ms, gib = self._measure(pipeline, work)
                floor_ms = 1000 * counted[work] / self.tera_per_s(variant.dtype)
                rel = self._deviation(pipeline) if work == COMPARED else None
                yield Times(work, taken_ms, gib, floor_ms / taken_ms, rel, ready_s)

    def tera_per_s(self, dtype: DtypeName) -> float:
        """How many TFLOP in a second the device does, multiplying two large matrices."""
        if dtype not in self._tera_per_s:
            side = self.sizes.matrix_side
            matrix = torch.ones(side, side, device=self.device, dtype=DTYPES[dtype])
            taken_ms = median(self._time(lambda: matrix @ matrix) for _ in range(5))
            self._tera_per_s[dtype] = 2 * side**3 / TERA / (taken_ms / 1000)
        return self._tera_per_s[dtype]

    def forget(self) -> None:
        """Give back what a variant has left: compiled code holds its model."""
        torch.compiler.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _pipeline(self, variant: Variant) -> Pipeline:
        """The same weights for every variant, but for their precision."""
        torch.manual_seed(0)
        model = blank_model(self.sizes.configs, str(self.device), DTYPES[variant.dtype])
        return Pipeline(model, speed_up(model, variant.speed))

    def _measure(self, pipeline: Pipeline, work: str) -> tuple[float, float]:
        """Milliseconds of a pass, and GiB at the most."""
        run = partial(pipeline.__call__, edits_of(work, self.sizes))
        run()
        is_cuda = self.device.type == "cuda"
        if is_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        taken_ms = median(self._time(run) for _ in range(self.repeats))
        return taken_ms, torch.cuda.max_memory_allocated(self.device) / GIBI if is_cuda else 0.0

    @torch.inference_mode()
    def _deviation(self, pipeline: Pipeline) -> float:
        """RMS of the final latents' deviation from the first variant's, by that of their value."""
        batch = gather(edits_of(COMPARED, self.sizes), pipeline.model)
        encoded = pipeline.encode(batch)
        latents = pipeline.start(batch, encoded)
        conditioning = pipeline.condition(batch, pipeline.hint(batch, encoded, latents))
        *_, last = pipeline.denoise(batch, latents, conditioning)
        found = last.latents_N4hw.double().cpu()
        if self._exact is None:
            self._exact = found
        return float((found - self._exact).norm() / self._exact.norm())

    def _time(self, call: Callable[[], object]) -> float:
        self._finish()
        start = time.perf_counter()
        call()
        self._finish()
        return (time.perf_counter() - start) * 1000

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

"""`python -m worker.engines.lightningdrag.bench`: how long an edit takes here, switch by switch.

Full sizes, weights as torch makes them (the time does not depend on their values), 512 x 512, the
demo's defaults. For each variant and work: milliseconds of a pass, start to end, the median of
some; the most memory; and how much of the time the counted work would take at the speed at which
this device multiplies large matrices. Then each precision against float32, same weights and draws.
No variant is begun after five minutes, so that all of it is done within eight.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shared.canvas import LATENT_PX
from worker.engines.lightningdrag.batch import CanvasEdit, gather
from worker.engines.lightningdrag.build import DTYPES
from worker.engines.lightningdrag.config import DtypeName
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
from worker.engines.lightningdrag.warm_up import warm_up

GIBI = 2**30
MATRIX_SIDE = 8192

#: Candidates of each edit that is run together.
WORK: dict[str, tuple[int, ...]] = {
    "1 candidate": (1,),
    "4 candidates": (4,),
    "8 jobs of 1": (1,) * 8,
}


class Variant(NamedTuple):
    """A precision and its switches."""

    name: str
    dtype: DtypeName
    speed: Speed


def variants(passes: tuple[Pass, ...]) -> list[Variant]:
    """Each switch alone, then together; what takes long to prepare comes last."""
    last, graphs = Speed(channels_last=True), Speed(cuda_graphs=True, fixed=passes)
    return [
        Variant("float32", "float32", Speed()),
        Variant("float16", "float16", Speed()),
        Variant("bfloat16", "bfloat16", Speed()),
        Variant("float16, flash", "float16", Speed(kernels=("flash", "efficient"))),
        Variant("float16, cudnn", "float16", Speed(kernels=("cudnn", "flash", "efficient"))),
        Variant("float16, channels last", "float16", last),
        Variant("float16, graphs", "float16", graphs),
        Variant("float16, graphs, last", "float16", replace(graphs, channels_last=True)),
        Variant("float16, compiled", "float16", Speed(compile=True, fixed=passes[1:2])),
        Variant(
            "float16, all",
            "float16",
            Speed(channels_last=True, compile=True, cuda_graphs=True, fixed=passes[1:2]),
        ),
    ]


def edits_of(candidates: tuple[int, ...], side_px: int) -> list[CanvasEdit]:
    """One edit for each number of candidates, every one with a picture and seeds of its own."""
    random = np.random.default_rng(0)
    edits = []
    for number, each in enumerate(candidates):
        picture = random.integers(0, 256, (side_px, side_px, 3), np.uint8)
        seeds = tuple(100 * number + index for index in range(each))
        edits.append(replace(demo_edit(each, side_px), picture_HWC=picture, seeds=seeds))
    return edits


class Bench:
    """One device, one set of sizes."""

    def __init__(self, device: str, configs: Configs = FULL_SIZE, side_px: int = SIDE_PX) -> None:
        self.device = torch.device(device)
        self.configs = configs
        self.side_px = side_px
        latents = side_px // LATENT_PX
        sizes = sorted({sum(candidates) for candidates in WORK.values()})
        self.passes = tuple(Pass(latents, latents, size, guided=True) for size in sizes)

    def pipeline(self, variant: Variant) -> Pipeline:
        """The same weights for every variant, but for their precision."""
        torch.manual_seed(0)
        model = blank_model(self.configs, str(self.device), DTYPES[variant.dtype])
        return Pipeline(model, speed_up(model, variant.speed))

    def times(self, variant: Variant, repeats: int) -> Iterator[tuple[str, float, float]]:
        """Of each work: its name, milliseconds, GiB at the most."""
        pipeline = self.pipeline(variant)
        with at_work(self.device, variant.speed):
            warm_up(pipeline, variant.speed)
            for name, candidates in WORK.items():
                run = partial(pipeline.__call__, edits_of(candidates, self.side_px))
                self._reset_peak()
                taken = [self._time(run) for _ in range(repeats + 1)]
                yield name, median(taken[1:]), self._peak_gib()

    def final_latents(self, variant: Variant) -> Tensor:
        """Of four candidates, as float32 on the CPU."""
        pipeline = self.pipeline(variant)
        with torch.inference_mode():
            batch = gather(edits_of((4,), self.side_px), pipeline.model)
            encoded = pipeline.encode(batch)
            latents = pipeline.start(batch, encoded)
            conditioning = pipeline.condition(batch, pipeline.hint(batch, encoded, latents))
            *_, last = pipeline.denoise(batch, latents, conditioning)
        return last.latents_N4hw.float().cpu()

    def peak_tflops(self, dtype: DtypeName, side: int = MATRIX_SIDE) -> float:
        """How fast the device multiplies two large matrices."""
        matrix = torch.ones(side, side, device=self.device, dtype=DTYPES[dtype])
        taken_ms = median(self._time(lambda: matrix @ matrix) for _ in range(5))
        return 2 * side**3 / TERA / (taken_ms / 1000)

    def _time(self, call: Callable[[], object]) -> float:
        self._finish()
        start = time.perf_counter()
        call()
        self._finish()
        return (time.perf_counter() - start) * 1000

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak_gib(self) -> float:
        return (
            torch.cuda.max_memory_allocated(self.device) / GIBI
            if self.device.type == "cuda"
            else 0.0
        )


def report(bench: Bench, repeats: int, until: float) -> Iterator[str]:
    """The lines of the report; variants are begun until the clock says `until`."""
    alone = {n: count(Pipeline(blank_model(bench.configs)), n) for n in (1, 4)}
    counted = {
        name: sum(sum(alone[n].values()) for n in candidates) for name, candidates in WORK.items()
    }
    if bench.device.type == "cuda":
        yield f"{torch.cuda.get_device_name(bench.device)}, torch {torch.__version__}"
    peaks: dict[DtypeName, float] = {}
    yield f"{'variant':26}{'work':14}{'ms':>9}{'GiB':>7}{'TFLOP':>8}{'of peak':>9}"
    for variant in variants(bench.passes):
        if time.monotonic() > until:
            yield f"{variant.name:26}not begun: out of time"
            continue
        if variant.dtype not in peaks:
            peaks[variant.dtype] = bench.peak_tflops(variant.dtype)
            yield f"large matrices, {variant.dtype}: {peaks[variant.dtype]:.0f} TFLOP/s"
        for name, taken_ms, gib in bench.times(variant, repeats):
            share = counted[name] / peaks[variant.dtype] / (taken_ms / 1000)
            numbers = f"{taken_ms:9.1f}{gib:7.2f}{counted[name]:8.2f}{share:9.1%}"
            yield f"{variant.name:26}{name:14}{numbers}"
    exact, *others = variants(bench.passes)[:3]
    wanted = bench.final_latents(exact)
    for variant in others:
        rel = float((bench.final_latents(variant) - wanted).norm() / wanted.norm())
        yield f"{variant.name} against float32, same weights and draws: rel {rel:.1e}"


def main() -> int:
    """Print the report as it is made."""
    parser = argparse.ArgumentParser(prog="python -m worker.engines.lightningdrag.bench")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=5.0, help="no variant is begun later")
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    for line in report(Bench(asked.device), asked.repeats, until):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

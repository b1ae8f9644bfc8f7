"""The checks that need no whole edit: `extra/` beside the cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.canvas import canvas_size
from tests.golden.recorded import read, read_json
from tests.golden.stages import Stage
from worker.engines.lightningdrag.config import SchedulerName
from worker.engines.lightningdrag.points import Pairs, PointEmbedding, point_maps
from worker.engines.lightningdrag.sampling import make_sampler

#: What the base model's scheduler file says (section 2); the tables were made with it.
SCHEDULER_FILE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def run_extras(folder: Path) -> Iterator[tuple[str, Iterator[Stage]]]:
    """Each check that the folder has, under its name."""
    checks = {
        "point_embedding_full_size": full_size_points,
        "resize_rule": resize_rule,
        "schedulers": schedules,
    }
    for name, check in checks.items():
        if (folder / f"{name}.json").is_file():
            said = read_json(folder / f"{name}.json")
            yield name, check(said, folder)


@torch.inference_mode()
def full_size_points(said: dict[str, Any], folder: Path) -> Iterator[Stage]:
    """E = 16, the authors' width, with weights by a formula."""
    recorded = read(folder / "point_embedding_full_size.safetensors")
    network = PointEmbedding(said["embed_dim"])
    for convolution in said["convolutions"]:
        shape = tuple(convolution["shape"])
        weight = network.get_parameter(convolution["name"])
        weight.copy_(formula_weights(convolution["index"], shape))
    pairs = Pairs(*(_points(recorded[f"input.{end}_points"]) for end in ("handle", "target")))
    levels = network(point_maps(pairs, said["height"], said["width"])[None])
    for level, features in enumerate(levels):
        for end, found in zip(("handle", "target"), features.chunk(2, dim=1), strict=True):
            wanted = recorded[f"{end}_embedding_{8 << level}"]
            yield Stage("point embeddings", found.double(), wanted.double())


def _points(tensor: Tensor) -> tuple[tuple[int, int], ...]:
    return tuple((y, x) for y, x in tensor.tolist())


def formula_weights(convolution: int, shape: tuple[int, ...]) -> Tensor:
    """The `weight_formula` of `point_embedding_full_size.json`."""
    x = np.arange(np.prod(shape), dtype=np.uint32) + np.uint32(convolution * 0x9E3779B9 % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    fan_in = int(np.prod(shape[1:]))
    weights = (2 * x.astype(np.float64) / 2**32 - 1) * np.sqrt(3) * 1.7 / np.sqrt(fan_in)
    return torch.from_numpy(weights.astype(np.float32).reshape(shape))


def resize_rule(said: list[dict[str, int]], folder: Path) -> Iterator[Stage]:
    """The canvas of each size; a side of 0 is a defect, fixed to 64 (section 5)."""
    found, wanted = [], []
    for row in said:
        width, height = canvas_size(row["input_width"], row["input_height"])
        found.append((height, width))
        wanted.append((max(row["height"], 64), max(row["width"], 64)))
    yield Stage("canvas", torch.tensor(found).double(), torch.tensor(wanted).double())


def schedules(said: dict[str, Any], folder: Path) -> Iterator[Stage]:
    """The time steps of both schedulers, and the alpha-bars that they rest on."""
    names: tuple[SchedulerName, ...] = ("lcm", "ddim")
    for name in names:
        for steps, wanted in said[f"{name}_timesteps"].items():
            found = make_sampler(name, SCHEDULER_FILE, int(steps)).timesteps
            yield Stage("time steps", torch.tensor(found).double(), torch.tensor(wanted).double())
    start = make_sampler("lcm", SCHEDULER_FILE, 1).start[0] ** 2
    wanted_start = torch.tensor(said["alphas_cumprod"]["999"], dtype=torch.float64)
    yield Stage("alpha bars", torch.tensor(start, dtype=torch.float64), wanted_start)

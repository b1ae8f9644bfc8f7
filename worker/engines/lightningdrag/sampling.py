"""From noise to latents, step by step: section 3.8 of the golden README.

The grids and alpha-bars are those of diffusers' schedulers, built from the base model's scheduler
file, whatever class it names. The two updates are written out, because diffusers' LCM step draws
its own noise and both look their place up on the device (decision 0021); a test holds them against
diffusers' own.

    x0 = (z - sqrt(1 - a_t) eps) / sqrt(a_t)
    LCM   y = c_out x0 + c_skip z;   z' = sqrt(a_t') y + sqrt(1 - a_t') noise;   last: z' = y
    DDIM  z' = sqrt(a_t') x0 + sqrt(1 - a_t') eps                                (eta 0)
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

from diffusers import DDIMScheduler, LCMScheduler
from torch import Tensor

from worker.engines.lightningdrag.config import TRAIN_STEPS, SchedulerName

#: DDIM's grid is shifted by one, so with all of them the first would lie behind the last.
MAX_STEPS: dict[SchedulerName, int] = {"lcm": 50, "ddim": TRAIN_STEPS - 1}


class Update(NamedTuple):
    """z' = of_latents z + of_prediction eps + of_noise noise."""

    of_latents: float
    of_prediction: float
    of_noise: float


@dataclass(frozen=True, slots=True)
class Sampler:
    """The time steps of an edit, in order, and what each does.

    start: sqrt(a_999) and sqrt(1 - a_999): the start is at t = 999 whatever the first step is.
    """

    timesteps: tuple[int, ...]
    updates: tuple[Update, ...]
    start: tuple[float, float]

    @property
    def draws(self) -> int:
        """How many steps add noise: the first so many."""
        return sum(update.of_noise > 0 for update in self.updates)

    def noised(self, latents_N4hw: Tensor, noise_N4hw: Tensor) -> Tensor:
        """What denoising starts from."""
        kept, added = self.start
        return kept * latents_N4hw + added * noise_N4hw

    def step(
        self, index: int, latents_N4hw: Tensor, prediction_N4hw: Tensor, noise_N4hw: Tensor | None
    ) -> Tensor:
        """The latents after a step. Float32; `noise_N4hw` is for the steps that add some."""
        update = self.updates[index]
        latents = update.of_latents * latents_N4hw + update.of_prediction * prediction_N4hw
        if noise_N4hw is not None and update.of_noise > 0:
            latents = latents + update.of_noise * noise_N4hw
        return latents


def check_steps(scheduler: SchedulerName, steps: int) -> None:
    """`ValueError` for a number of steps that the scheduler does not have."""
    if not 1 <= steps <= MAX_STEPS[scheduler]:
        raise ValueError(f"{scheduler} does 1 to {MAX_STEPS[scheduler]} steps, not {steps}")


def make_sampler(scheduler: SchedulerName, config: Mapping[str, Any], steps: int) -> Sampler:
    """The sampler for a number of steps; `ValueError` for steps or a file that it cannot do."""
    check_steps(scheduler, steps)
    kind = LCMScheduler if scheduler == "lcm" else DDIMScheduler
    known = inspect.signature(kind).parameters
    grid = kind.from_config({name: value for name, value in config.items() if name in known})
    grid.set_timesteps(steps)
    _check_grid(grid.config)
    alphas = [float(alpha) for alpha in grid.alphas_cumprod]
    timesteps = tuple(int(t) for t in grid.timesteps)
    if scheduler == "lcm":
        updates = _lcm_updates(grid, alphas, timesteps)
    else:
        updates = _ddim_updates(alphas, timesteps, float(grid.final_alpha_cumprod), steps)
    last = alphas[TRAIN_STEPS - 1]
    return Sampler(timesteps, updates, (sqrt(last), sqrt(1 - last)))


def _check_grid(config: Mapping[str, Any]) -> None:
    wanted = {
        "prediction_type": "epsilon",
        "num_train_timesteps": TRAIN_STEPS,
        "clip_sample": False,
        "thresholding": False,
    }
    wrong = [
        f"{name} is {config[name]!r}, not {value!r}"
        for name, value in wanted.items()
        if config[name] != value
    ]
    if wrong:
        raise ValueError(f"the base model's scheduler_config.json: {'; '.join(wrong)}")


def _x0(alpha: float) -> tuple[float, float]:
    """x0's share of the latents and of the prediction."""
    return 1 / sqrt(alpha), -sqrt(1 - alpha) / sqrt(alpha)


def _lcm_updates(
    grid: LCMScheduler, alphas: list[float], timesteps: tuple[int, ...]
) -> tuple[Update, ...]:
    updates = []
    for t, following in zip(timesteps, (*timesteps[1:], None), strict=True):
        of_latents, of_prediction = _x0(alphas[t])
        skip, out = (float(c) for c in grid.get_scalings_for_boundary_condition_discrete(t))
        of_latents, of_prediction = out * of_latents + skip, out * of_prediction
        kept, added = (1.0, 0.0)
        if following is not None:
            kept, added = sqrt(alphas[following]), sqrt(1 - alphas[following])
        updates.append(Update(kept * of_latents, kept * of_prediction, added))
    return tuple(updates)


def _ddim_updates(
    alphas: list[float], timesteps: tuple[int, ...], final_alpha: float, steps: int
) -> tuple[Update, ...]:
    updates = []
    for t in timesteps:
        following = t - TRAIN_STEPS // steps
        alpha = alphas[following] if following >= 0 else final_alpha
        of_latents, of_prediction = _x0(alphas[t])
        kept, added = sqrt(alpha), sqrt(1 - alpha)
        updates.append(Update(kept * of_latents, kept * of_prediction + added, 0.0))
    return tuple(updates)

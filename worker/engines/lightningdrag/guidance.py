"""How strongly the points guide: section 3.7 of the golden README, equation 5 of the paper.

    eps = eps_nopoints + g_i (eps_points - eps_nopoints)

With a scale of 1 or less the authors' code means no guidance: only the half with points is run.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DECAYS: dict[str, Callable[[float, float], float]] = {
    "none": lambda g, r: g,
    "linear": lambda g, r: g * (1 - r) + r,
    "square": lambda g, r: g * (1 - r**2) + r**2,
    "quadratic": lambda g, r: g * (1 - r**3) + r**3,  # cubic in spite of its name
    "inv_square": lambda g, r: (g - 1) * (1 - r) ** 2 + 1,
}


def guided_steps(scale: float, steps: int, at_most: int | None = None) -> int:
    """How many of the first steps are guided: none when the scale is 1 or less."""
    if scale <= 1:
        return 0
    return steps if at_most is None else min(at_most, steps)


def guidance_scales(scale: float, decay: str, steps: int) -> list[float]:
    """g_i of each step; `KeyError` for a decay that does not exist."""
    return [DECAYS[decay](scale, index / steps) for index in range(steps)]


def guide(noise_2N4hw: Tensor, scales_N111: Tensor) -> Tensor:
    """The noise that is taken away (N x 4 x h x w), from the half without points and that with."""
    without, with_points = noise_2N4hw.chunk(2)
    return torch.lerp(without, with_points, scales_N111)

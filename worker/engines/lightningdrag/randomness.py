"""Every candidate's own random numbers, drawn before the first step.

A candidate has a seed. One CPU generator, seeded with it, gives all its draws in this order, each
4 x h x w, float32:

    1  posterior sample of the masked picture
    2  posterior sample of the picture
    3  the noise it starts from
    4  posterior sample of the picture for the appearance encoder
    5  LCM only: one for each step but the last

So a candidate is the same whatever it is batched with and on whatever device, and can be asked
for again by its seed alone. (The authors draw all candidates from one generator, and share the
first draw among them: decision 0020.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from worker.engines.lightningdrag.config import LATENT_CHANNELS

SEED_BITS = 53  #: as `shared.engines.SEED_MAX`


class Draws(NamedTuple):
    """Standard normal draws of N candidates; `steps_SN4hw` has one row per step that needs one."""

    masked_N4hw: Tensor
    source_N4hw: Tensor
    noise_N4hw: Tensor
    reference_N4hw: Tensor
    steps_SN4hw: Tensor

    def to(self, device: torch.device) -> Draws:
        """The same draws on the device, in one copy."""
        drawn = torch.cat([torch.stack(self[:4]), self.steps_SN4hw]).to(device)
        return Draws(drawn[0], drawn[1], drawn[2], drawn[3], drawn[4:])


def candidate_seed(seed: int, index: int) -> int:
    """The seed of a job's candidate: the job's own for 0, else 53 bits of a SHA-256."""
    return seed if index == 0 else _derived(f"towline:candidate:{seed}:{index}")


def round_seed(seed: int, place: int) -> int:
    """What seeds a candidate's generator in one of its rounds; in the first, its own seed."""
    return seed if place == 0 else _derived(f"towline:round:{seed}:{place}")


def _derived(text: str) -> int:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def draw(seeds: Sequence[int], steps_drawn: int, height: int, width: int) -> Draws:
    """Draw for candidates with these seeds; height and width are the latents'."""
    shape = (4 + steps_drawn, len(seeds), LATENT_CHANNELS, height, width)
    drawn = torch.empty(shape)
    for row, seed in enumerate(seeds):
        generator = torch.Generator("cpu").manual_seed(seed)
        for number in range(len(drawn)):
            drawn[number, row] = torch.randn(shape[2:], generator=generator)
    return Draws(drawn[0], drawn[1], drawn[2], drawn[3], drawn[4:])


def join(draws: Sequence[Draws]) -> Draws:
    """The draws of several edits' candidates, one edit after the other."""
    if len(draws) == 1:
        return draws[0]
    *each, steps = zip(*draws, strict=True)
    masked, source, noise, reference = (torch.cat(parts) for parts in each)
    return Draws(masked, source, noise, reference, torch.cat(steps, dim=1))

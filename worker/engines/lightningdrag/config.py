"""What never changes about the model: its blocks, their levels and their order in the files.

    level   1/8 of the picture: 0   1/16: 1              1/32: 2              1/64: 3
    down    2 in down_blocks.0      2 in down_blocks.1   2 in down_blocks.2
    mid                                                                       1 in mid_block
    up      3 in up_blocks.3        3 in up_blocks.2     3 in up_blocks.1

Sixteen transformer blocks, Stable Diffusion 1.5's. The files of LightningDrag and of IP-Adapter
number them down, up, mid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.engines import SCHEDULER_DEFAULTS, Scheduler

LATENT_CHANNELS = 4
TRAIN_STEPS = 1000  #: noise is full at t = TRAIN_STEPS - 1
LAYERS_PER_BLOCK = 2  #: the appearance encoder is cut off at a place that relies on it
IMAGE_TOKENS = 4  #: of IP-Adapter

SchedulerName = Scheduler
DtypeName = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Block:
    """One transformer block, by its path in the UNet; its level is that of its feature map."""

    name: str
    level: int


BLOCKS = (
    *(Block(f"down_blocks.{i}.attentions.{k}", i) for i in range(3) for k in range(2)),
    *(Block(f"up_blocks.{i}.attentions.{k}", 3 - i) for i in range(1, 4) for k in range(3)),
    Block("mid_block.attentions.0", 3),
)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an edit is sampled."""

    steps: int
    guidance: float
    guidance_decay: str = "inv_square"


#: What the authors' demo does when nobody says otherwise.
DEFAULTS: dict[SchedulerName, Sampling] = {
    name: Sampling(**values) for name, values in SCHEDULER_DEFAULTS.items()
}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model is loaded, and how. The scheduler decides whether the LCM LoRA is fused."""

    folder: Path
    scheduler: SchedulerName = "lcm"
    device: str = "cpu"
    dtype: DtypeName = "float32"

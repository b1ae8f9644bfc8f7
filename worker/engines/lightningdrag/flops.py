"""`make flops`: the work of one edit, counted and not guessed.

The pipeline itself runs on the meta device, at the full sizes of Stable Diffusion 1.5, under
torch's counter: multiply-adds times two, convolutions, products and attention.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTokenizer

from worker.engines.lightningdrag.attention import ReferenceAttention
from worker.engines.lightningdrag.batch import CanvasEdit, gather
from worker.engines.lightningdrag.build import Model
from worker.engines.lightningdrag.config import DEFAULTS
from worker.engines.lightningdrag.device import keep_float32
from worker.engines.lightningdrag.networks import Configs, make_networks
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.points import Pairs
from worker.engines.lightningdrag.text import TEXT_TOKENS, TextEncoder

SIDE_PX = 512
TERA = 1e12

_UNET: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
    "sample_size": 64,
}
_CLIP: dict[str, Any] = {"projection_dim": 1024, "hidden_act": "gelu"}

#: Of the public files.
FULL_SIZE = Configs(
    unet={**_UNET, "in_channels": 9},
    appearance={**_UNET, "in_channels": 4},
    vae={
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 256,
    },
    text={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    image={
        **_CLIP,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
    },
    point_width=16,
)
SCHEDULER_FILE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


class _Blank:
    """Stands in for the tokenizer: the count does not depend on the words."""

    def __call__(self, prompt: str, **_: object) -> dict[str, Tensor]:
        return {"input_ids": torch.zeros(1, TEXT_TOKENS, dtype=torch.long)}


def blank_model(
    configs: Configs = FULL_SIZE, device: str = "meta", dtype: torch.dtype = torch.float32
) -> Model:
    """A model with weights as torch makes them; on the meta device it has shapes alone."""
    keep_float32()
    with torch.device(device):
        networks = make_networks(configs)
    for _, network in networks:
        nn.Module.to(network, dtype).requires_grad_(False).eval()
    ReferenceAttention(networks.unet).inject()
    text = TextEncoder(cast("CLIPTokenizer", _Blank()), networks.text)
    return Model(networks, text, "lcm", SCHEDULER_FILE, torch.device(device), dtype, "none")


@dataclass(frozen=True, slots=True)
class Tally:
    """FLOP by part, as they are counted."""

    counter: FlopCounterMode
    by_part: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is counted in here belongs to `name`."""
        before = self.counter.get_total_flops()
        yield
        grown = self.counter.get_total_flops() - before
        self.by_part[name] = self.by_part.get(name, 0) + grown

    @contextmanager
    def parts(self, networks: Mapping[str, nn.Module]) -> Iterator[None]:
        """Every call of one of these networks belongs to its name."""
        with ExitStack() as calls, ExitStack() as hooks:
            for name, network in networks.items():
                enter = partial(self._enter, calls, name)
                hooks.callback(network.register_forward_pre_hook(enter).remove)
                leave = partial(self._leave, calls)
                hooks.callback(network.register_forward_hook(leave).remove)
            yield

    def _enter(self, calls: ExitStack, name: str, *_: object) -> None:
        calls.enter_context(self.part(name))

    def _leave(self, calls: ExitStack, *_: object) -> None:
        calls.pop_all().close()


def count(pipeline: Pipeline, edit: CanvasEdit) -> dict[str, float]:
    """TFLOP of one edit by part of the model."""
    networks = pipeline.networks
    named: dict[str, nn.Module] = {
        "text encoder": networks.text,
        "CLIP image encoder": networks.image,
        "VAE encoder": networks.vae.encoder,
        "VAE decoder": networks.vae.decoder,
        "appearance encoder": networks.appearance,
        "point embedding": networks.points,
    }
    counter = FlopCounterMode(display=False)
    tally = Tally(counter)
    with torch.inference_mode(), counter, tally.parts(named):
        run(pipeline, edit, tally)
    rest = counter.get_total_flops() - sum(tally.by_part.values())
    return {name: flop / TERA for name, flop in (*tally.by_part.items(), ("other", rest))}


def demo_edit(
    candidates: int, side_px: int = SIDE_PX, steps: int = DEFAULTS["lcm"].steps
) -> CanvasEdit:
    """An edit with the demo's defaults, of a picture in which everything may change."""
    near, far = side_px // 5, 2 * side_px // 5
    return CanvasEdit(
        picture_HWC=np.zeros((side_px, side_px, 3), np.uint8),
        mask_HW=np.ones((side_px, side_px), np.bool_),
        pairs=Pairs(((near, near),), ((far, far),)),
        seeds=tuple(range(candidates)),
        steps=steps,
        guidance=DEFAULTS["lcm"].guidance,
    )


def run(pipeline: Pipeline, edit: CanvasEdit, tally: Tally) -> None:
    """`Pipeline.__call__` up to the bytes, which a tensor without memory does not have."""
    batch = gather([edit], pipeline.model)
    encoded = pipeline.encode(batch)
    latents = pipeline.start(batch, encoded)
    hints = pipeline.hint(batch, encoded, latents)
    with tally.part("keys and values kept"):
        conditioning = pipeline.condition(batch, hints)
    with tally.part(f"UNet, {edit.steps} calls"):
        *_, last = pipeline.denoise(batch, latents, conditioning)
    pipeline.decode(last.latents_N4hw)


def main() -> int:
    """Print the table, and as its last two lines the totals."""
    counts = {}
    for candidates in (1, 4):
        counts[candidates] = count(Pipeline(blank_model()), demo_edit(candidates))
    write = sys.stdout.write
    write(f"TFLOP of one edit, {SIDE_PX} x {SIDE_PX}, LCM, guided\n")
    write(f"{'part':24}{'1 candidate':>14}{'4 candidates':>14}\n")
    for part in counts[1]:
        write(f"{part:24}{counts[1][part]:14.3f}{counts[4][part]:14.3f}\n")
    write(f"1 candidate: {sum(counts[1].values()):.2f} TFLOP\n")
    write(f"4 candidates: {sum(counts[4].values()):.2f} TFLOP\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

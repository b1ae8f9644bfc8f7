"""What the picture looks like, as tokens for each self-attention: golden README section 3.5.

The appearance encoder is Stable Diffusion's UNet without what lies behind its last norm1. It runs
once per edit, at t = 0, with the negative prompt alone, and what each of its sixteen norm1 gives
is kept: the reference features (paper, section 4.1).
"""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from worker.engines.lightningdrag.config import BLOCKS


class _Norm(nn.Module):
    """A transformer block of which the first norm is left."""

    def __init__(self, norm1: nn.Module) -> None:
        super().__init__()
        self.norm1 = norm1


class LastBlock(nn.Module):
    """Where the appearance encoder ends: a transformer cut off behind its first norm."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.norm = whole.norm
        self.proj_in = whole.proj_in
        self.transformer_blocks = nn.ModuleList([_Norm(whole.transformer_blocks[0].norm1)])

    def forward(self, hidden_BCHW: Tensor, **_: Any) -> tuple[Tensor]:
        tokens = self.proj_in(self.norm(hidden_BCHW)).flatten(2).transpose(1, 2)
        inner: Any = self.transformer_blocks[0]
        return (inner.norm1(tokens),)


def cut_off(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Take off a UNet what an appearance encoder does not have; its keys are then the file's."""
    unet.up_blocks[-1].attentions[-1] = LastBlock(unet.up_blocks[-1].attentions[-1])
    unet.conv_norm_out = None
    unet.conv_out = nn.Identity()
    return unet


class ReferenceFeatures:
    """While it is open, keeps what each norm1 gives: B x tokens x channels, by the block's name."""

    def __init__(self, encoder: UNet2DConditionModel) -> None:
        self.encoder = encoder
        self.by_block: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for block in BLOCKS:
            norm = self.encoder.get_submodule(f"{block.name}.transformer_blocks.0.norm1")
            self._hooks.append(norm.register_forward_hook(partial(self._keep, block.name)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _keep(self, block: str, module: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        self.by_block[block] = out


def reference_features(
    encoder: UNet2DConditionModel, latents_N4hw: Tensor, text_N77D: Tensor
) -> dict[str, Tensor]:
    """R_j of each block, one row per candidate, in the encoder's precision."""
    at_zero = torch.zeros((), device=latents_N4hw.device)
    with ReferenceFeatures(encoder) as features:
        encoder(latents_N4hw.to(encoder.dtype), at_zero, text_N77D.to(encoder.dtype))
    return features.by_block

"""One call of the denoising UNet, for both guidance halves: golden README section 3.6.

    z, mask, z_m ── conv_in ── resnet ── norm, proj_in ── norm1 ── q k v ─┬─ without points ─┐
    N rows                                                               └─ with points ────┴─ 2N
Up to the first self-attention the halves are one; from there on the blocks are diffusers' own.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from worker.engines.lightningdrag.attention import Conditioning
from worker.engines.lightningdrag.config import BLOCKS


def predict_noise(
    unet: UNet2DConditionModel, sample_N9hw: Tensor, timestep: Tensor, conditioning: Conditioning
) -> Tensor:
    """eps for each row of the conditioning (B x 4 x h x w), B = 2N when guided, N when not.

    sample_N9hw: latents, latent mask, latents of the masked picture; in the UNet's precision.
    timestep: one number for all rows, a tensor without axes, on the UNet's device.
    Needs the processors of `attention.py` in the UNet.
    """
    time_1C = unet.time_embedding(unet.get_time_embed(sample_N9hw[:1], timestep))
    context: dict[str, Any] = {
        "temb": time_1C,
        "cross_attention_kwargs": {"conditioning": conditioning},
    }
    hidden, skips = _down(unet, sample_N9hw, time_1C, context)
    hidden = unet.mid_block(hidden, **context)
    for block in unet.up_blocks:
        count = len(block.resnets)
        kept = context if block.resnets and hasattr(block, "attentions") else {"temb": time_1C}
        hidden = block(hidden, res_hidden_states_tuple=tuple(skips[-count:]), **kept)
        del skips[-count:]
    out: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
    return out


def _down(
    unet: UNet2DConditionModel, sample_N9hw: Tensor, time_1C: Tensor, context: dict[str, Any]
) -> tuple[Tensor, list[Tensor]]:
    """The first half of the UNet; its last feature map and all that the second half takes up."""
    first, *others = unet.down_blocks
    hidden, skips = _first_block(first, unet.conv_in(sample_N9hw), time_1C, context)
    for block in others:
        kept = context if hasattr(block, "attentions") else {"temb": time_1C}
        hidden, more = block(hidden, **kept)
        skips += more
    return hidden, skips


def _first_block(
    block: Any, hidden_N: Tensor, time_1C: Tensor, context: dict[str, Any]
) -> tuple[Tensor, list[Tensor]]:
    """As diffusers' `CrossAttnDownBlock2D`, but entered with N rows and left with B."""
    kwargs = context["cross_attention_kwargs"]
    halves = len(kwargs["conditioning"][BLOCKS[0].name].reference_key_BTD) // len(hidden_N)
    skips = [_repeat(hidden_N, halves)]
    hidden = _parting(block.attentions[0], block.resnets[0](hidden_N, time_1C), halves, kwargs)
    skips.append(hidden)
    for resnet, attention in zip(block.resnets[1:], block.attentions[1:], strict=True):
        hidden = attention(
            resnet(hidden, time_1C), cross_attention_kwargs=kwargs, return_dict=False
        )[0]
        skips.append(hidden)
    for downsampler in block.downsamplers:
        hidden = downsampler(hidden)
        skips.append(hidden)
    return hidden, skips


def _parting(transformer: Any, hidden_NCHW: Tensor, halves: int, kwargs: dict[str, Any]) -> Tensor:
    """The transformer in whose self-attention the guidance halves part (B x C x H x W)."""
    inner = transformer.transformer_blocks[0]
    tokens = transformer.proj_in(transformer.norm(hidden_NCHW)).flatten(2).transpose(1, 2)
    tokens = inner.attn1(inner.norm1(tokens), **kwargs) + _repeat(tokens, halves)
    tokens = inner.attn2(inner.norm2(tokens), **kwargs) + tokens
    tokens = inner.ff(inner.norm3(tokens)) + tokens
    hidden = tokens.transpose(1, 2).unflatten(2, hidden_NCHW.shape[2:]).contiguous()
    out: Tensor = transformer.proj_out(hidden) + _repeat(hidden_NCHW, halves)
    return out


def _repeat(rows: Tensor, halves: int) -> Tensor:
    return torch.cat([rows] * halves) if halves > 1 else rows

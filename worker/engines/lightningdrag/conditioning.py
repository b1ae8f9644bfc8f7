"""All that the denoising UNet is given and that no step changes, computed once per edit.

Rows are the candidates of all edits, one edit after the other; when guided, first all of them
without points and then all of them with points:

    [ a0 a1 b0 | a0 a1 b0 ]        edit a with two candidates, edit b with one
      no points   points
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from worker.engines.lightningdrag.attention import BlockConditioning, Conditioning
from worker.engines.lightningdrag.config import BLOCKS, Block


@dataclass(frozen=True, slots=True)
class Hints:
    """What the edits of a batch say to the UNet; E edits, N candidates in all.

    text_E77D, image_E4D: tokens. points: per level, E x 2C x h x w, handle half first.
    reference: R_j by block, N rows. edit_of_N: which edit a candidate belongs to.
    """

    text_E77D: Tensor
    image_E4D: Tensor
    points: tuple[Tensor, ...]
    reference: dict[str, Tensor]
    edit_of_N: Tensor


@dataclass(frozen=True, slots=True)
class Projections:
    """The trained layers beside the UNet, keyed as in their files: 2j points, 2j + 1 image."""

    points: nn.ModuleDict
    image: nn.ModuleDict


def condition(
    unet: UNet2DConditionModel, projections: Projections, hints: Hints, guided: bool
) -> Conditioning:
    """Keys, values and shifts of each block; twice the rows when guided."""
    return {
        block.name: _condition_block(unet, projections, hints, guided, number, block)
        for number, block in enumerate(BLOCKS)
    }


def _condition_block(
    unet: UNet2DConditionModel,
    projections: Projections,
    hints: Hints,
    guided: bool,
    number: int,
    block: Block,
) -> BlockConditioning:
    inner: Any = unet.get_submodule(f"{block.name}.transformer_blocks.0")
    reference = hints.reference[block.name]
    handle, target = (
        projections.points[str(2 * number)](half).index_select(0, hints.edit_of_N)
        for half in hints.points[block.level].chunk(2, dim=1)
    )
    key, value = inner.attn1.to_k(reference), inner.attn1.to_v(reference)
    image: Any = projections.image[str(2 * number + 1)]
    of_edits = (
        inner.attn2.to_k(hints.text_E77D),
        inner.attn2.to_v(hints.text_E77D),
        image.to_k_ip(hints.image_E4D),
        image.to_v_ip(hints.image_E4D),
    )
    halves = 2 if guided else 1
    rows = hints.edit_of_N.repeat(halves)
    return BlockConditioning(
        target,
        torch.cat([key, key + handle]) if guided else key + handle,
        value.repeat(halves, 1, 1),
        *(tokens.index_select(0, rows) for tokens in of_edits),
    )


def with_points_only(conditioning: Conditioning) -> Conditioning:
    """The same without the half that has no points, for steps behind the last guided one."""
    return {
        name: BlockConditioning(
            given.target_NTD, *(rows[-len(given.target_NTD) :] for rows in given[1:])
        )
        for name, given in conditioning.items()
    }

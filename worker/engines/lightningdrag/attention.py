"""The UNet's two kinds of attention, and how they are put in and taken out again.

    self-attention    q <- q + et              rows with points alone
                      k <- [k + et ; R Wk + eh], v <- [v ; R Wv]
    cross-attention   softmax(q Kt) Vt + softmax(q Ki) Vi       text, image tokens

(Golden README section 3.6; paper section 4.1 and 4.2.) All that does not change between two steps
is computed beforehand, in `conditioning.py`, and passed with every call; the processors keep
nothing, so one UNet serves any number of edits.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional

from worker.engines.lightningdrag.config import BLOCKS


class BlockConditioning(NamedTuple):
    """What one transformer block is given beside its hidden states. B rows, the last N with points.

    target_NTD: et, projected. reference_*_BTD: of the reference features, eh added to the keys.
    text_*_BSD, image_*_BSD: keys and values of the text and of the image tokens.
    """

    target_NTD: Tensor
    reference_key_BTD: Tensor
    reference_value_BTD: Tensor
    text_key_BSD: Tensor
    text_value_BSD: Tensor
    image_key_BSD: Tensor
    image_value_BSD: Tensor


Conditioning = Mapping[str, BlockConditioning]  #: by the block's name


def attend(query_BTD: Tensor, key_BSD: Tensor, value_BSD: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d_head)) v, heads joined again (B x T x D)."""
    query, key, value = (
        tokens.unflatten(-1, (heads, -1)).transpose(1, 2)
        for tokens in (query_BTD, key_BSD, value_BSD)
    )
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class ReferenceSelfAttention:
    """Attends to the picture's own tokens and to the reference features, shifted by the points.

    Given fewer rows than the conditioning has, it repeats them: before the first self-attention
    the two guidance halves do not differ, so they come here as one.
    """

    def __init__(self, block: str) -> None:
        self.block = block

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        conditioning: Conditioning,
    ) -> Tensor:
        given = conditioning[self.block]
        query, key, value = (
            attn.to_q(hidden_states),
            attn.to_k(hidden_states),
            attn.to_v(hidden_states),
        )
        rows, with_points = len(given.reference_key_BTD), len(given.target_NTD)
        if rows > len(query):
            halves = rows // len(query)
            query, key, value = (tokens.repeat(halves, 1, 1) for tokens in (query, key, value))
        query[rows - with_points :] += given.target_NTD
        key[rows - with_points :] += given.target_NTD
        key = torch.cat([key, given.reference_key_BTD], dim=1)
        value = torch.cat([value, given.reference_value_BTD], dim=1)
        out: Tensor = attn.to_out[0](attend(query, key, value, attn.heads))
        return out


class ImagePromptCrossAttention:
    """Attends to the text and, apart, to the image tokens; one output projection for both."""

    def __init__(self, block: str) -> None:
        self.block = block

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        conditioning: Conditioning,
    ) -> Tensor:
        given = conditioning[self.block]
        query = attn.to_q(hidden_states)
        of_text = attend(query, given.text_key_BSD, given.text_value_BSD, attn.heads)
        of_image = attend(query, given.image_key_BSD, given.image_value_BSD, attn.heads)
        out: Tensor = attn.to_out[0](of_text + of_image)
        return out


class ReferenceAttention:
    """Puts the processors into a UNet: `inject()` and `eject()`, or as a context manager."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet = unet
        self._before: dict[str, object] | None = None

    @property
    def is_injected(self) -> bool:
        """Whether the UNet has them now."""
        return self._before is not None

    def inject(self) -> Self:
        """Replace every attention's processor; `RuntimeError` if that was done already."""
        if self._before is not None:
            raise RuntimeError("these processors are in the UNet already")
        self._before = dict(self.unet.attn_processors)
        processors: dict[str, object] = {}
        for block in BLOCKS:
            path = f"{block.name}.transformer_blocks.0"
            processors[f"{path}.attn1.processor"] = ReferenceSelfAttention(block.name)
            processors[f"{path}.attn2.processor"] = ImagePromptCrossAttention(block.name)
        self.unet.set_attn_processor(processors)
        return self

    def eject(self) -> None:
        """Put back what was there; `RuntimeError` if there is nothing to put back."""
        if self._before is None:
            raise RuntimeError("these processors are not in the UNet")
        self.unet.set_attn_processor(self._before)
        self._before = None

    def __enter__(self) -> Self:
        return self.inject()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.eject()

"""The processors: what the UNet is before they are in it, while they are, and after."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional

from worker.engines.lightningdrag.attention import (
    BlockConditioning,
    Conditioning,
    ImagePromptCrossAttention,
    ReferenceAttention,
    ReferenceSelfAttention,
    attend,
)
from worker.engines.lightningdrag.config import BLOCKS
from worker.engines.lightningdrag.denoiser import predict_noise

SIDE, TEXT, WIDTH = 8, 7, 16


@pytest.fixture
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        in_channels=9,
        block_out_channels=(8, 8, 8, 8),
        attention_head_dim=2,
        cross_attention_dim=WIDTH,
        norm_num_groups=4,
    ).eval()


def usual(unet: UNet2DConditionModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 9, SIDE, SIDE, generator=generator)
    text = torch.randn(2, TEXT, WIDTH, generator=generator)
    with torch.inference_mode():
        out: torch.Tensor = unet(sample, 500, text).sample
    return out


def conditioning_of(unet: UNet2DConditionModel, halves: int, candidates: int) -> Conditioning:
    generator = torch.Generator().manual_seed(2)
    found = {}
    for block in BLOCKS:
        tokens, channels = (SIDE >> block.level) ** 2, 8

        def normal(rows: int, count: int, channels: int = channels) -> torch.Tensor:
            return torch.randn(rows, count, channels, generator=generator)

        rows = halves * candidates
        found[block.name] = BlockConditioning(
            normal(candidates, tokens),
            *(normal(rows, count) for count in (tokens, tokens, TEXT, TEXT, 4, 4)),
        )
    return found


def test_the_unet_is_its_old_self_after_ejection(unet: UNet2DConditionModel) -> None:
    before, processors = usual(unet), dict(unet.attn_processors)
    with ReferenceAttention(unet) as injected:
        assert injected.is_injected
        kinds = {type(processor) for processor in unet.attn_processors.values()}
        assert kinds == {ReferenceSelfAttention, ImagePromptCrossAttention}
        with pytest.raises(TypeError, match="conditioning"):
            usual(unet)
        noise = predict_noise(
            unet, torch.zeros(1, 9, SIDE, SIDE), torch.tensor(3), conditioning_of(unet, 2, 1)
        )
        assert noise.shape == (2, 4, SIDE, SIDE)
    assert not injected.is_injected
    assert unet.attn_processors == processors
    assert torch.equal(usual(unet), before)


def test_the_unet_is_its_old_self_after_an_error(unet: UNet2DConditionModel) -> None:
    before = usual(unet)

    def fail() -> None:
        with ReferenceAttention(unet):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(usual(unet), before)


def test_processors_go_in_once_and_come_out_once(unet: UNet2DConditionModel) -> None:
    processors = ReferenceAttention(unet).inject()
    with pytest.raises(RuntimeError):
        processors.inject()
    processors.eject()
    with pytest.raises(RuntimeError):
        processors.eject()


def test_the_halves_together_are_each_half_alone(unet: UNet2DConditionModel) -> None:
    sample = torch.randn(3, 9, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    both = conditioning_of(unet, 2, 3)
    points = {
        name: BlockConditioning(given[0], *(rows[3:] for rows in given[1:]))
        for name, given in both.items()
    }
    none = {
        name: BlockConditioning(torch.zeros_like(given[0]), *(rows[:3] for rows in given[1:]))
        for name, given in both.items()
    }
    with torch.inference_mode(), ReferenceAttention(unet):
        noise = predict_noise(unet, sample, torch.tensor(10), both)
        without = predict_noise(unet, sample, torch.tensor(10), none)
        with_points = predict_noise(unet, sample, torch.tensor(10), points)
    torch.testing.assert_close(noise, torch.cat([without, with_points]))


def test_attention_is_the_softmax_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(4)
    query, key, value = (torch.randn(2, n, 8, generator=generator) for n in (5, 6, 6))
    found = attend(query, key, value, heads=2)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / 4**0.5
        wanted = functional.softmax(scores, dim=-1) @ value[..., part]
        torch.testing.assert_close(found[..., part], wanted)

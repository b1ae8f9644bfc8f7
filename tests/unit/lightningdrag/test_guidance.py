"""How strongly the points guide."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from worker.engines.lightningdrag.guidance import guidance_scales, guide, guided_steps

HALFWAY = {"none": 3.0, "linear": 2.0, "square": 2.5, "quadratic": 2.75, "inv_square": 1.5}


@pytest.mark.parametrize("decay", HALFWAY)
def test_guidance_decays_as_the_table_says(decay: str) -> None:
    scales = guidance_scales(3.0, decay, 2)
    assert scales == pytest.approx([3.0, HALFWAY[decay]])


@pytest.mark.parametrize(
    ("scale", "decay", "recorded"),
    [
        (2.0, "square", [2.0, 1.9375, 1.75, 1.4375]),  # golden case 04
        (3.0, "quadratic", [3.0, 2.984, 2.872, 2.568, 1.976]),  # golden case 06
    ],
)
def test_guidance_decays_as_was_recorded(scale: float, decay: str, recorded: list[float]) -> None:
    assert guidance_scales(scale, decay, len(recorded)) == pytest.approx(recorded)


@pytest.mark.parametrize(
    ("scale", "at_most", "guided"), [(3.0, None, 8), (3.0, 3, 3), (3.0, 20, 8), (1.0, None, 0)]
)
def test_guided_steps(scale: float, at_most: int | None, guided: int) -> None:
    assert guided_steps(scale, 8, at_most) == guided


def test_each_candidate_is_guided_by_its_own_scale() -> None:
    noise = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 4, 2, 2)
    scales = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    found = guide(noise, scales)
    assert found[:, 0, 0, 0].tolist() == [2.0, 1.0 + 3.0 * 2.0]

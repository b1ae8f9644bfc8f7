"""What CLIP sees."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from worker.engines.lightningdrag.image_prompt import CLIP_MEAN, CLIP_STD, clip_pixels


def test_63_of_the_256_levels_are_seen_one_lower() -> None:
    lower = 0
    for level in range(256):
        flat = np.full((224, 224, 3), level, np.uint8)
        red = float(clip_pixels(flat)[0, 0, 0]) * CLIP_STD[0] + CLIP_MEAN[0]
        lower += round(red * 255) == level - 1
        assert round(red * 255) in (level - 1, level)
    assert lower == 63


@pytest.mark.parametrize("size", [(64, 1024), (1024, 64), (300, 301), (224, 224)])
def test_the_middle_square_is_seen(size: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    height, width = size
    short = min(size)
    top, left = (height - short) // 2, (width - short) // 2
    picture[top : top + short, left : left + short] = 255
    seen = clip_pixels(picture)
    assert seen.shape == (3, 224, 224)
    assert (seen[:, 8:-8, 8:-8] > 1.9).all()

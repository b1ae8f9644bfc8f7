"""Back from the canvas to the picture. No torch needed."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engines.lightningdrag.composite import composite, soft_mask

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(100, 150), (64, 128), (30, 40)])
def test_every_byte_outside_of_the_mask_is_the_pictures(
    size: tuple[int, int], channels: int
) -> None:
    picture = RANDOM.integers(0, 256, (*size, channels), np.uint8)
    canvas = RANDOM.integers(0, 256, (64, 128, 3), np.uint8)
    mask = RANDOM.random(size) > 0.4
    before = picture.copy()
    found = composite(picture, canvas, mask)
    assert found.shape == picture.shape
    assert np.array_equal(found[~mask], before[~mask])
    assert np.array_equal(picture, before)


def test_deep_inside_the_mask_it_is_the_canvas() -> None:
    picture = np.zeros((64, 128, 3), np.uint8)
    canvas = np.full((64, 128, 3), 200, np.uint8)
    mask = np.zeros((64, 128), np.bool_)
    mask[10:50, 20:90] = True
    found = composite(picture, canvas, mask)
    assert (found[20:40, 30:80] == 200).all()
    edge = found[30, 20:28, 0]
    assert (np.diff(edge.astype(int)) > 0).all()
    assert 0 < edge[0] < 60


def test_a_part_of_a_picture_is_enlarged_as_the_whole_would_be() -> None:
    slope = np.add.outer(np.arange(64), np.arange(128)).astype(np.uint8)
    canvas = np.stack([slope, 255 - slope, slope // 2], axis=2)
    picture = np.zeros((150, 270, 3), np.uint8)
    part = np.zeros((150, 270), np.bool_)
    part[20:110, 133:260] = True
    whole = composite(picture, canvas, np.ones_like(part))
    found = composite(picture, canvas, part)
    deep = (slice(40, 90), slice(153, 240))
    assert np.abs(found[deep].astype(int) - whole[deep]).max() <= 1


def test_nothing_changes_under_an_empty_mask() -> None:
    picture = RANDOM.integers(0, 256, (30, 40, 3), np.uint8)
    canvas = np.zeros((64, 64, 3), np.uint8)
    assert np.array_equal(composite(picture, canvas, np.zeros((30, 40), np.bool_)), picture)


def test_the_pictures_own_edge_is_not_softened() -> None:
    assert (soft_mask(np.ones((20, 20), np.bool_), 8) == 1).all()


def test_transparency_stays_where_it_was() -> None:
    picture = RANDOM.integers(0, 256, (64, 128, 4), np.uint8)
    canvas = RANDOM.integers(0, 256, (64, 128, 3), np.uint8)
    found = composite(picture, canvas, np.ones((64, 128), np.bool_))
    assert np.array_equal(found[..., 3], picture[..., 3])
    assert np.array_equal(found[..., :3], canvas)

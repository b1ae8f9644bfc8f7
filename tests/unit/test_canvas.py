"""The size at which the model works. No torch needed."""

from __future__ import annotations

import numpy as np
import pytest

from shared.canvas import (
    canvas_size,
    canvas_violations,
    mask_to_canvas,
    point_to_canvas,
    to_canvas,
)
from shared.edits import Drag, Point, locate

SIZES = {
    (512, 512): (512, 512),
    (640, 480): (576, 448),
    (1920, 1080): (704, 384),
    (777, 333): (768, 320),
    (1, 1): (512, 512),
    (3100, 200): (1984, 128),
    (500, 501): (512, 512),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_canvas_is_the_authors(size: tuple[int, int]) -> None:
    assert canvas_size(*size) == SIZES[size]


@pytest.mark.parametrize("size", [(3000, 10), (10, 3000), (100_000, 1)])
def test_no_side_is_shorter_than_64(size: tuple[int, int]) -> None:
    assert min(canvas_size(*size)) == 64


def test_a_picture_of_the_canvas_s_size_is_not_touched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    assert np.array_equal(to_canvas(picture, (128, 64)), picture)


def test_the_mask_takes_the_nearest_pixel() -> None:
    mask = np.zeros((4, 6), np.bool_)
    mask[1, 2] = True
    found = mask_to_canvas(mask, (12, 8))
    assert np.argwhere(found).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_points_scale_with_the_canvas() -> None:
    picture, canvas = (1000, 500), (704, 384)
    assert point_to_canvas(Point(0, 0), picture, canvas) == (0, 0)
    assert point_to_canvas(Point(999, 499), picture, canvas) == (383, 703)
    assert point_to_canvas(Point(499.5, 249.5), picture, canvas) == (192, 352)
    assert point_to_canvas(Point(499, 249), picture, canvas) == (191, 351)


def test_a_point_keeps_its_pixel_when_the_size_stays() -> None:
    for x in (0, 1, 63, 126, 127):
        assert point_to_canvas(Point(x, 5), (128, 64), (128, 64)) == (5, x)


def located(*drags: tuple[float, float, float, float]) -> list[list[tuple[str, Drag]]]:
    made = [Drag(Point(a, b), Point(c, d)) for a, b, c, d in drags]
    return locate([made], is_single=True)


@pytest.mark.parametrize("size", [(1, 1024), (1, 65_535), (40_000_000, 1)])
def test_a_picture_whose_canvas_would_be_endless_is_named_and_its_mask_is_not_made(
    size: tuple[int, int],
) -> None:
    mask = np.broadcast_to(np.True_, (size[1], size[0]))
    found = canvas_violations(located((0, 0, 0, 0)), mask, size)
    is_short = size == (1, 1024)
    assert [(each.pointer, each.code) for each in found] == (
        [] if is_short else [("/image", "canvas_too_long")]
    )


def test_points_that_fall_on_one_pixel_of_the_canvas_are_named() -> None:
    rounds = located((100, 100, 500, 500), (101, 100, 900, 900), (400, 300, 500, 501))
    found = canvas_violations(rounds, None, (4000, 4000))
    assert [(each.pointer, each.code) for each in found] == [
        ("/drags/1/handle", "duplicate_handle"),
        ("/drags/2/target", "duplicate_target"),
    ]
    assert canvas_violations(rounds, None, (512, 512)) == []


def test_a_mask_that_is_empty_in_the_latents_is_named() -> None:
    mask = np.zeros((512, 512), np.bool_)
    mask[9:16, 9:16] = True
    (found,) = canvas_violations(located((10, 10, 12, 12)), mask, (512, 512))
    assert (found.pointer, found.code) == ("/mask", "mask_empty_on_canvas")
    mask[16, 16] = True
    assert canvas_violations(located((10, 10, 12, 12)), mask, (512, 512)) == []

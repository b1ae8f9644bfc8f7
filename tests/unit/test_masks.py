"""The mask as pixels: half-open rectangles, outlines, and the room that is made around drags."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.edits import Drag, MaskPolygon, MaskRect, Point, pixel_yx
from shared.masks import around_drags, from_polygon, from_rect
from shared.placement import check_in_mask

WIDTH, HEIGHT = 90, 60
sides = st.floats(-50, 150, allow_nan=False)
pixels = st.builds(Point, st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1))


@given(sides, sides, sides, sides)
def test_a_rectangle_holds_just_the_pixels_of_its_half_open_ranges(
    x0: float, y0: float, x1: float, y1: float
) -> None:
    mask_HW = from_rect(MaskRect(x0, y0, x1, y1), WIDTH, HEIGHT)
    assert mask_HW.shape == (HEIGHT, WIDTH)
    wanted = [[x0 <= x < x1 and y0 <= y < y1 for x in range(WIDTH)] for y in range(HEIGHT)]
    assert (mask_HW == np.array(wanted)).all()


def test_a_rectangle_is_as_wide_as_its_corners_are_apart_when_they_are_whole() -> None:
    assert from_rect(MaskRect(2, 3, 5, 7), 10, 10).sum() == 3 * 4
    assert not from_rect(MaskRect(5, 5, 5, 9), 10, 10).any()
    assert from_rect(MaskRect(-1e300, -1e300, 1e300, 1e300), 10, 10).all()


def _distance_to_outline(points: list[Point], x: int, y: int) -> float:
    return min(
        _distance(Drag(a, b), x, y) for a, b in zip(points, points[1:] + points[:1], strict=True)
    )


def _distance(line: Drag, x: float, y: float) -> float:
    (x0, y0), (x1, y1) = (line.handle.x, line.handle.y), (line.target.x, line.target.y)
    length2 = (x1 - x0) ** 2 + (y1 - y0) ** 2
    share = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length2 if length2 > 1e-12 else 0.0
    share = min(1.0, max(0.0, share))
    return math.hypot(x - x0 - share * (x1 - x0), y - y0 - share * (y1 - y0))


def _distances(line: Drag, x: NDArray[np.int_], y: NDArray[np.int_]) -> NDArray[np.float64]:
    handle, target = complex(line.handle.x, line.handle.y), complex(line.target.x, line.target.y)
    away, along = x + 1j * y - handle, target - handle
    share = np.clip((away * along.conjugate()).real / max(abs(along) ** 2, 1e-300), 0, 1)
    return np.abs(away - share * along)


def _is_inside(points: list[Point], x: int, y: int) -> bool:
    """Even-odd."""
    inside = False
    for a, b in zip(points, points[1:] + points[:1], strict=True):
        if (a.y > y) != (b.y > y) and x < (b.x - a.x) * (y - a.y) / (b.y - a.y) + a.x:
            inside = not inside
    return inside


SIDE = 16
corners = st.builds(Point, st.floats(-5, 20), st.floats(-5, 20))


@settings(max_examples=30)
@given(st.lists(corners, min_size=3, max_size=6))
def test_a_polygon_holds_what_lies_well_inside_and_nothing_well_outside(
    points: list[Point],
) -> None:
    mask_HW = from_polygon(MaskPolygon(tuple(points)), SIDE, SIDE)
    for y in range(SIDE):
        for x in range(SIDE):
            if _distance_to_outline(points, x, y) > 1.25:  # corners are rounded
                assert mask_HW[y, x] == _is_inside(points, x, y), (x, y)


def test_a_polygon_is_cut_off_when_it_reaches_far_beyond_the_picture() -> None:
    far = 100_000.0
    huge = MaskPolygon((Point(-far, -far), Point(far, -far), Point(far, far), Point(-far, far)))
    assert from_polygon(huge, 20, 20).all()


@given(
    st.lists(st.lists(st.builds(Drag, pixels, pixels), min_size=1, max_size=4), min_size=1,
             max_size=2)
)  # fmt: skip
def test_a_made_mask_holds_the_pixels_within_its_room_of_a_drag_and_no_others(
    rounds: list[list[Drag]],
) -> None:
    drags = [drag for drags in rounds for drag in drags]
    longest = max(math.dist((d.handle.x, d.handle.y), (d.target.x, d.target.y)) for d in drags)
    room_px = max(48, 1.75 * longest, 0.1 * HEIGHT)
    mask_HW = around_drags(rounds, WIDTH, HEIGHT)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    nearest = np.min([_distances(drag, x, y) for drag in drags], axis=0)
    sure = np.abs(nearest - room_px) > 2.5  # it is drawn
    assert (mask_HW == (nearest <= room_px))[sure].all()


@pytest.mark.parametrize("width", [1, 2, 40, 200])
@pytest.mark.parametrize("height", [1, 3, 150])
def test_a_made_mask_holds_every_handle_and_target_when_they_lie_in_the_corners(
    width: int, height: int
) -> None:
    ends = [Point(x, y) for x in {0, width - 1} for y in {0, height - 1}]
    for handle in ends:
        drags = [Drag(handle, target) for target in ends]
        mask_HW = around_drags([drags], width, height)
        assert check_in_mask(mask_HW, [("/drags/0", drag) for drag in drags]) == []


@pytest.mark.slow
def test_a_made_mask_takes_little_time_and_memory_when_picture_and_drags_are_the_most_allowed() -> (
    None
):
    width, height = 8000, 5000
    corner = Point(0, 0)
    drags = [Drag(corner, Point(width - 1, height - 1 - n)) for n in range(64)]
    begun_s = time.monotonic()
    tracemalloc.start()
    mask_HW = around_drags([drags] * 8, width, height)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask_HW[height // 2, width // 2]
    assert peak_bytes < 8 * width * height
    assert time.monotonic() - begun_s < 60  # it was four minutes


@pytest.mark.parametrize(
    ("x", "y", "pixel"),
    [(0, 0, (0, 0)), (0.49, 0.5, (1, 0)), (9, 4, (4, 9)), (8.5, 3.4999, (3, 9))],
)
def test_a_point_belongs_to_the_pixel_whose_centre_is_nearest(
    x: float, y: float, pixel: tuple[int, int]
) -> None:
    assert pixel_yx(Point(x, y)) == pixel


def test_a_point_outside_the_mask_is_named_when_the_pixel_under_it_is_not_masked() -> None:
    mask_HW = from_rect(MaskRect(0, 0, 5, 5), 10, 10)
    drags = [("/drags/0", Drag(Point(4.4, 4.4), Point(4.6, 4))), ("/drags/1", Drag(
        Point(9, 9), Point(0, 0)))]  # fmt: skip
    found = check_in_mask(mask_HW, drags)
    assert [(v.pointer, v.code) for v in found] == [
        ("/drags/0/target", "point_outside_mask"),
        ("/drags/1/handle", "point_outside_mask"),
    ]

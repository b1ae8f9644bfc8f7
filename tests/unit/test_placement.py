"""The rules for points that need no field: what the API asks at submission."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from shared.borders import NEAR_BORDER_PX, border_distance_px
from shared.edits import Point, locate
from shared.parts import _leads_straight, _parts
from shared.placement import check_placement
from tests.unit.warp.warping import drag


def square(inside: slice = slice(10, 30), side: int = 40) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[inside, inside] = True
    return mask


def found(mask: np.ndarray, *drags: object) -> list[tuple[str, str]]:
    [located] = locate([drags], is_single=True)  # type: ignore[list-item]
    return [(v.pointer, v.code) for v in check_placement(mask, located, inset_px=2)]


def test_points_are_accepted_when_two_pixels_inside_the_border() -> None:
    assert found(square(), drag(11, 11, 28, 28)) == []


def test_points_are_refused_when_less_than_two_pixels_inside_the_border() -> None:
    assert found(square(), drag(10.9, 20, 20, 28.1)) == [
        ("/drags/0/handle", "point_at_mask_border"),
        ("/drags/0/target", "point_at_mask_border"),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_both_ends_are_in_one_part_when_the_straight_way_between_them_is_masked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((24, 24)) < 0.85
    part_of = _parts(mask)
    assert part_of is not None
    ways = [drag(*rng.uniform(0, 23, 4)) for _ in range(200)]
    straight = [way for way in ways if _leads_straight(mask, way)]
    assert straight
    assert all(part_of(way.handle) == part_of(way.target) for way in straight)


def test_points_are_refused_when_outside_the_mask() -> None:
    assert found(square(), drag(9, 20, 20, 31)) == [
        ("/drags/0/handle", "point_outside_mask"),
        ("/drags/0/target", "point_outside_mask"),
    ]


@pytest.mark.parametrize("x", [float("nan"), float("inf")])
def test_a_point_is_refused_when_it_is_not_a_number(x: float) -> None:
    assert found(square(), drag(x, 20, 20, 20)) == [("/drags/0/handle", "point_outside_image")]


@pytest.mark.parametrize("x", [-0.01, 39.01])
def test_a_point_is_refused_when_outside_the_picture(x: float) -> None:
    whole = np.ones((40, 40), bool)
    assert found(whole, drag(20, 20, x, 20)) == [("/drags/0/target", "point_outside_image")]


def test_every_point_is_refused_once_when_the_mask_is_empty() -> None:
    assert found(np.zeros((5, 5), bool), drag(2, 2, 3, 3)) == [("/mask", "mask_empty")]


def test_pointers_name_the_round_when_there_are_several() -> None:
    rounds = [[drag(20, 20, 21, 21)], [drag(20, 20, 21, 21), drag(20, 20, 0, 0)]]
    located = [drag for drags in locate(rounds, is_single=False) for drag in drags]
    faults = check_placement(square(), located, inset_px=2)
    assert [fault.pointer for fault in faults] == ["/rounds/1/1/target"]


def test_a_corner_of_the_picture_is_accepted_when_the_mask_runs_off_it_and_nothing_moves() -> None:
    assert found(np.ones((40, 40), bool), drag(0, 0, 0, 0), drag(20, 20, 25, 20)) == []


def test_an_edge_point_is_accepted_when_it_slides_along_the_edge() -> None:
    assert found(np.ones((40, 40), bool), drag(0, 20, 0, 30)) == []


@pytest.mark.parametrize("points", [(0, 20, 5, 20), (5, 20, 0, 20), (20, 39, 20, 30), (1, 9, 3, 9)])
def test_an_edge_point_is_refused_when_it_leaves_or_meets_the_edge(points: tuple[int, ...]) -> None:
    assert found(np.ones((40, 40), bool), drag(*points)) == [
        ("/drags/0/target", "edge_point_moves_inward")
    ]


def test_an_edge_point_is_refused_when_the_mask_ends_beside_it() -> None:
    half = np.zeros((40, 40), bool)
    half[:20] = True
    assert found(half, drag(0, 19, 0, 10)) == [("/drags/0/handle", "point_at_mask_border")]


def test_every_point_is_refused_when_the_mask_is_one_pixel_thin() -> None:
    thin = np.zeros((20, 20), bool)
    thin[10] = True
    assert {code for _, code in found(thin, drag(5, 10, 9, 10))} == {"point_at_mask_border"}


def test_points_are_accepted_when_the_picture_itself_is_one_pixel_thin() -> None:
    assert found(np.ones((1, 50), bool), drag(10, 0, 20, 0)) == []


def test_a_pinhole_is_no_border_but_a_larger_hole_is() -> None:
    mask = square(slice(0, 40))
    mask[20, 20:28] = False
    assert found(mask, drag(19, 20, 10, 10)) == []
    mask[20:25, 20:28] = False
    assert found(mask, drag(19, 20, 10, 10)) == [("/drags/0/handle", "point_at_mask_border")]


def test_a_gap_is_a_border_when_it_reaches_the_pictures_edge() -> None:
    mask = square(slice(0, 40))
    mask[:20, 20] = False
    assert found(mask, drag(19, 5, 10, 10)) == [("/drags/0/handle", "point_at_mask_border")]


def test_the_border_distance_is_capped_when_there_is_no_border_near() -> None:
    assert border_distance_px(square(), Point(20, 20)) == NEAR_BORDER_PX
    assert border_distance_px(square(), Point(12.5, 20)) == 3.0
    assert border_distance_px(square(), Point(11.25, 20)) == 2.25


def test_the_rules_need_neither_scipy_nor_opencv() -> None:
    code = (
        "import sys; import shared.placement;"
        "sys.exit(any(name in sys.modules for name in ('cv2', 'scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_targets_that_nearly_coincide_are_refused_when_their_handles_do_not() -> None:
    whole = np.ones((40, 40), bool)
    near = drag(30, 20, 20.4, 20)
    assert found(whole, drag(10, 20, 20, 20), near) == [("/drags/1/target", "duplicate_target")]
    assert found(whole, drag(10, 20, 20, 20), drag(10.4, 20, 20.4, 20)) == []
    rounds = [[drag(10, 20, 20, 20)], [near]]
    located = [drag for drags in locate(rounds, is_single=False) for drag in drags]
    assert check_placement(whole, located, inset_px=2) == []

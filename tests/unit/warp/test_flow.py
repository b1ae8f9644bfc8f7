"""The flow's parts: the look-up it relies on, and what the plate promises."""

from __future__ import annotations

import cv2
import numpy as np

from tests.unit.warp.warping import drag
from worker.engines.warp.discs import place_discs
from worker.engines.warp.field import FULL, find_field
from worker.engines.warp.flow import solve_positive
from worker.engines.warp.grid import make_grid
from worker.engines.warp.handles import gather_handles
from worker.engines.warp.paths import plan_paths
from worker.engines.warp.plate import make_plates
from worker.engines.warp.region import Part, find_region


def disc_part(radius: int = 40) -> Part:
    y, x = np.mgrid[0:120, 0:120]
    region = find_region((x - 60) ** 2 + (y - 60) ** 2 < radius**2)
    return region.part(region.label_at((60, 60)))


def test_opencvs_lookup_of_one_channel_is_exactly_bilinear() -> None:
    random = np.random.default_rng(0)
    field = random.random((40, 50), np.float32)
    x = (random.random((30, 70), np.float32) * 48).astype(np.float32)
    y = (random.random((30, 70), np.float32) * 38).astype(np.float32)
    found = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    i, j = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = y - i, x - j
    upper = field[i, j] * (1 - fx) + field[i, j + 1] * fx
    lower = field[i + 1, j] * (1 - fx) + field[i + 1, j + 1] * fx
    assert np.abs(found - (upper * (1 - fy) + lower * fy)).max() < 1e-6


def test_a_positive_system_is_solved() -> None:
    random = np.random.default_rng(1)
    half = random.random((9, 9))
    matrix, wanted = half @ half.T + np.eye(9), random.random(9)
    assert np.allclose(solve_positive(matrix, matrix @ wanted), wanted)


def test_the_plate_answers_symmetrically_and_stands_still_near_the_border() -> None:
    part = disc_part()
    grid = make_grid(part, 2.0)
    plates = make_plates(grid, part)
    assert plates is not None
    assert plates[0] is plates[1]
    answer = plates[0].responses(grid.to_lattice(np.array([[60.0, 60.0], [70.0, 55.0]])))
    assert np.allclose(answer.at_points, answer.at_points.T)
    assert (np.linalg.eigvalsh(answer.at_points) > 0).all()
    rows, columns = np.divmod(plates[0].nodes, grid.nodes_yx[1])
    places = grid.to_picture(np.stack([columns, rows], axis=1).astype(float))
    assert part.depth_at(places).min() > np.sqrt(2) * 1.9


def test_components_have_plates_of_their_own_when_an_edge_slides() -> None:
    region = find_region(np.ones((60, 80), bool))
    part = region.part(1)
    grid = make_grid(part, 4.0)
    plates = make_plates(grid, part)
    assert part.slides == (True, True, True, True)
    assert plates is not None
    assert plates[0] is not plates[1]


def test_a_point_on_the_edge_slides_along_it() -> None:
    region = find_region(np.ones((60, 80), bool))
    handles = gather_handles([drag(0, 20, 0, 35)])
    field = find_field(region.part(1), handles, FULL, lambda share: None)
    assert field.errors_px.max() < 0.05
    assert field.shape.min_jacobian > 0


def test_small_holes_are_filled_and_large_ones_are_not() -> None:
    mask = np.ones((100, 100), bool)
    mask[20, 20] = False
    mask[50:60, 50:60] = False
    region = find_region(mask)
    assert region.holes_filled == 1
    assert region.label_at((20, 20)) == region.label_at((0, 0)) != region.label_at((55, 55))


def test_a_mask_is_read_rightly_when_its_true_bytes_are_255() -> None:
    mask = np.ones((40, 40), bool)
    mask[20, 20] = False
    odd = (mask.view(np.uint8) * np.uint8(255)).view(bool)
    assert find_region(odd).holes_filled == 1
    assert np.array_equal(find_region(odd).labels_HW, find_region(mask).labels_HW)


def test_no_disc_is_placed_when_the_lattice_could_not_hold_it() -> None:
    part = disc_part()
    handles = gather_handles([drag(50, 60, 60, 60)])
    fine, coarse = make_grid(part, 2.0), make_grid(part, 13.0)
    paths = plan_paths(handles, part, fine)
    assert len(place_discs(handles, paths, part, fine).owner_S) == 4
    assert len(place_discs(handles, paths, part, coarse).owner_S) == 0


def test_three_handles_turn_together_when_their_motion_is_a_turn() -> None:
    part = disc_part(55)
    drags = [drag(60, 40, 80, 60), drag(80, 60, 60, 80), drag(60, 80, 40, 60)]
    paths = plan_paths(gather_handles(drags), part, make_grid(part, 2.0))
    assert np.allclose(np.hypot(*(paths.at(0.5) - 60).T), 20, atol=0.1)
    assert np.isclose(paths.spin_at(1.0), np.pi / 2)

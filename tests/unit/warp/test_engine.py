"""The engine as a whole: what a caller is promised."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.edits import Drag
from shared.errors import DragNotReachable, InvalidRequest, WarpFolds
from shared.settings import Settings
from tests.unit.warp.warping import Unwatched, codes, drag, edit, result, warp
from worker.engines.registry import load_engine
from worker.engines.warp.engine import WarpEngine

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def spot(x: int, y: int) -> tuple[Pixels, Mask]:
    """A grey picture of 128 x 128 with one white disc, and a loose mask around it."""
    picture = np.full((128, 128, 3), 90, np.uint8)
    cv2.circle(picture, (x, y), 6, (255, 255, 255), -1, cv2.LINE_AA)
    mask = np.zeros((128, 128), np.uint8)
    cv2.circle(mask, (64, 64), 55, 1, -1)
    return picture, mask > 0


def centre_of_light(picture: Pixels) -> tuple[float, float]:
    weights = picture[..., 0].astype(float) - 90
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    return float((x * weights).sum() / weights.sum()), float((y * weights).sum() / weights.sum())


def test_the_registry_gives_the_engine_when_asked_for_warp() -> None:
    assert isinstance(load_engine("warp", Settings()), WarpEngine)


def test_what_lies_under_the_handle_lies_at_the_target_when_done() -> None:
    picture, mask = spot(54, 64)
    outcome = warp(picture, mask, [drag(54, 64, 78, 60)])
    assert np.hypot(*np.subtract(centre_of_light(result(outcome)), (78, 60))) < 1.0
    assert outcome.measures["target_error_px"] < 0.05


def test_the_disc_under_the_handle_keeps_its_size_when_moved() -> None:
    picture, mask = spot(54, 64)
    moved = result(warp(picture, mask, [drag(54, 64, 78, 60)]))
    before, after = (np.count_nonzero(p[..., 0] > 170) for p in (picture, moved))
    assert abs(after - before) < 0.12 * before


def test_every_handle_arrives_and_nothing_folds_when_there_are_many(
    picture: Pixels, mask: Mask
) -> None:
    drags = [drag(x, y, x + 6, y - 5) for x in (50, 70, 90, 110) for y in (45, 60, 75)]
    outcome = warp(picture, mask, drags)
    assert outcome.measures["target_error_px"] < 0.05
    assert outcome.measures["min_jacobian"] > 0


def test_pixels_outside_the_mask_are_identical_when_done(picture: Pixels, mask: Mask) -> None:
    before = picture.copy()
    outcome = warp(picture, mask, [drag(60, 60, 90, 70)])
    assert np.array_equal(result(outcome)[~mask], before[~mask])
    assert not np.array_equal(result(outcome)[mask], before[mask])
    assert np.array_equal(picture, before)


def test_the_picture_may_be_read_only(picture: Pixels, mask: Mask) -> None:
    picture.flags.writeable = mask.flags.writeable = False
    assert result(warp(picture, mask, [drag(60, 60, 70, 60)])).flags.writeable


def test_each_round_starts_from_the_last_ones_picture(picture: Pixels, mask: Mask) -> None:
    first, second = [drag(60, 60, 80, 60)], [drag(80, 60, 80, 75)]
    by_hand = result(warp(result(warp(picture, mask, first)), mask, second))
    assert np.array_equal(result(warp(picture, mask, first, second)), by_hand)


def test_alpha_is_carried_along_with_the_colour() -> None:
    picture, mask = spot(54, 64)
    alpha = np.where(picture[..., 0] > 170, 255, 0).astype(np.uint8)
    rgba = np.dstack([picture, alpha])
    moved = result(warp(rgba, mask, [drag(54, 64, 78, 60)]))
    y, x = np.nonzero(moved[..., 3] > 128)
    assert np.hypot(x.mean() - 78, y.mean() - 60) < 2.0
    assert np.array_equal(moved[~mask], rgba[~mask])


def test_hidden_colours_do_not_bleed_when_alpha_is_carried_along() -> None:
    picture, mask = spot(54, 64)
    seen = picture[..., 0] > 170
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[seen] = (0, 255, 0, 255)
    rgba[~seen] = (255, 0, 0, 0)
    moved = result(warp(rgba, mask, [drag(54, 64, 78, 60)]))
    shown = mask & (moved[..., 3] > 0)
    assert moved[..., 0][shown].max() <= 1


def test_an_opaque_picture_with_alpha_gives_the_colours_of_one_without(
    picture: Pixels, mask: Mask
) -> None:
    drags = [drag(60, 60, 90, 70)]
    opaque = np.dstack([picture, np.full(mask.shape, 255, np.uint8)])
    moved = result(warp(opaque, mask, drags))
    assert np.abs(moved[..., :3].astype(int) - result(warp(picture, mask, drags))).max() <= 1
    assert moved[..., 3].min() == 255


def test_preview_arrives_too(picture: Pixels, mask: Mask) -> None:
    outcome = warp(picture, mask, [drag(60, 60, 90, 70)], quality="preview")
    assert outcome.measures["target_error_px"] < 0.05
    assert outcome.measures["min_jacobian"] > 0


_DIGEST = """
import hashlib, sys, cv2, numpy as np
cv2.setNumThreads(int(sys.argv[1]))
from tests.unit.warp.warping import drag, result, warp
y, x = np.mgrid[0:500, 0:600].astype(float)
picture = np.dstack([128 + 99 * np.sin(x / 7 + c) * np.cos(y / 9) for c in range(3)])
mask = np.ones((500, 600), bool)
mask[450:, 500:] = False
drags = [drag(300, 200, 380, 240), drag(150, 300, 130, 330), drag(420, 400, 400, 380)]
moved = result(warp(picture.astype(np.uint8), mask, drags))
print(hashlib.sha256(moved.tobytes()).hexdigest())
"""


def test_the_bytes_are_the_same_when_there_are_one_or_two_threads() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST, threads],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_the_bytes_are_the_same_when_several_threads_call_one_engine(
    engine: WarpEngine, picture: Pixels, mask: Mask
) -> None:
    edits = [edit(picture, mask, [drag(60, 60, 60 + 5 * n, 70)]) for n in range(4)] * 3
    alone = [digest(engine, one) for one in edits]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: digest(engine, one), edits))
    assert together == alone


def digest(engine: WarpEngine, one: object) -> str:
    outcome = engine.run(one, Unwatched())  # type: ignore[arg-type]
    return hashlib.sha256(result(outcome).tobytes()).hexdigest()


def test_steps_only_rise_and_their_number_is_known_from_the_start(
    engine: WarpEngine, picture: Pixels, mask: Mask
) -> None:
    watch = Unwatched()
    engine.run(edit(picture, mask, [drag(60, 60, 80, 60)], [drag(80, 60, 60, 60)]), watch)
    done, steps = zip(*watch.told, strict=True)
    assert list(done) == sorted(done)
    assert (done[0], done[-1]) == (0, steps[0])
    assert len(set(steps)) == 1


class Canceled(Exception):
    pass


@pytest.mark.parametrize("when", [0, 1, 5, 14, 19])
def test_a_run_ends_between_two_steps_when_the_watch_says_so(
    engine: WarpEngine, picture: Pixels, mask: Mask, when: int
) -> None:
    class Impatient:
        def step(self, done: int, steps: int) -> None:
            if done >= when:
                raise Canceled

    before = threading.active_count()
    with pytest.raises(Canceled):
        engine.run(edit(picture, mask, [drag(60, 60, 90, 70)]), Impatient())
    assert threading.active_count() < before + 10


# What is refused


def test_points_are_refused_with_every_pointer_when_outside_the_mask(
    picture: Pixels, mask: Mask
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        warp(picture, mask, [drag(60, 60, 90, 70)], [drag(2, 2, 90, 70), drag(60, 60, 159, 1)])
    assert [(v.pointer, v.code) for v in refusal.value.violations] == [
        ("/rounds/1/0/handle", "point_outside_mask"),
        ("/rounds/1/1/target", "point_outside_mask"),
    ]


def test_a_drag_is_refused_when_the_mask_is_empty(picture: Pixels, mask: Mask) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        warp(picture, np.zeros_like(mask), [drag(60, 60, 90, 70)])
    assert [v.code for v in refusal.value.violations] == ["mask_empty"]


def test_a_drag_is_refused_when_its_ends_lie_in_different_parts(
    picture: Pixels, mask: Mask
) -> None:
    mask[:, 78:82] = False
    with pytest.raises(DragNotReachable, match=r"drag 0 got 0\.0 of 40\.0 px.*drag 1 got 10\.0"):
        warp(picture, mask, [drag(60, 60, 100, 60), drag(50, 60, 50, 70)])


def test_drags_are_refused_when_they_would_end_in_one_place(picture: Pixels, mask: Mask) -> None:
    with pytest.raises(DragNotReachable, match="drag 0 got"):
        warp(picture, mask, [drag(60, 60, 80, 60), drag(100, 60, 80, 60)])


# What is warned of


def test_the_input_comes_back_when_every_drag_is_zero(picture: Pixels, mask: Mask) -> None:
    outcome = warp(picture, mask, [drag(60, 60, 60, 60)])
    assert np.array_equal(result(outcome), picture)
    assert codes(outcome) == ["zero_drags"]


def test_a_handle_stays_when_its_own_drag_is_zero(picture: Pixels, mask: Mask) -> None:
    outcome = warp(picture, mask, [drag(60, 60, 75, 60), drag(110, 60, 110, 60)])
    assert codes(outcome) == []
    at_rest = (slice(58, 63), slice(108, 113))
    assert np.abs(result(outcome)[at_rest].astype(int) - picture[at_rest]).max() <= 3


def test_handles_are_moved_as_one_when_less_than_a_pixel_apart(picture: Pixels, mask: Mask) -> None:
    outcome = warp(picture, mask, [drag(60, 60, 80, 60), drag(60.5, 60, 80, 62)])
    assert "drags_merged" in codes(outcome)
    assert np.array_equal(result(outcome), result(warp(picture, mask, [drag(60.25, 60, 80, 61)])))


def test_pinholes_are_ignored_but_their_pixels_stay(picture: Pixels, mask: Mask) -> None:
    mask[58:60, 70:73] = False
    outcome = warp(picture, mask, [drag(60, 60, 90, 62)])
    assert codes(outcome) == ["mask_holes_ignored"] or "mask_holes_ignored" in codes(outcome)
    assert outcome.measures["min_jacobian"] > 0.1
    assert np.array_equal(result(outcome)[58:60, 70:73], picture[58:60, 70:73])


def test_a_point_is_warned_of_when_near_the_border(picture: Pixels) -> None:
    mask = np.zeros((120, 160), bool)
    mask[20:100, 20:140] = True
    near = warp(picture, mask, [drag(21.5, 60, 40, 60)])
    assert "point_near_border" in codes(near)
    assert near.measures["target_error_px"] < 0.05
    assert "point_near_border" not in codes(warp(picture, mask, [drag(23, 60, 40, 60)]))


def test_crossing_ways_are_warned_of_when_handles_pass_through_one_place(
    picture: Pixels, mask: Mask
) -> None:
    drags = [drag(60, 60, 100, 60), drag(80, 45, 80, 80), drag(110, 70, 112, 72)]
    drags.append(drag(50, 50, 52, 48))
    assert "paths_cross" in codes(warp(picture, mask, drags))


def test_two_handles_turn_around_each_other_when_they_change_places(
    picture: Pixels, mask: Mask
) -> None:
    outcome = warp(picture, mask, [drag(65, 60, 95, 60), drag(95, 60, 65, 60.5)])
    assert "paths_cross" not in codes(outcome)
    assert outcome.measures["target_error_px"] < 0.05


def test_a_detour_is_taken_and_warned_of_when_the_straight_way_leaves_the_mask(
    picture: Pixels,
) -> None:
    mask = np.zeros((120, 160), bool)
    mask[10:110, 10:60] = True
    mask[70:110, 10:150] = True
    outcome = warp(picture, mask, [drag(35, 25, 125, 90)])
    assert "detour" in codes(outcome)
    assert outcome.measures["target_error_px"] < 0.05


def test_smears_are_warned_of_by_how_far_the_picture_is_stretched(
    picture: Pixels, mask: Mask
) -> None:
    assert codes(warp(picture, mask, [drag(75, 60, 85, 60)])) == []
    assert codes(warp(picture, mask, [drag(50, 60, 95, 60)])) == ["smeared"]
    assert codes(warp(picture, mask, [drag(35, 60, 125, 60)])) == ["extreme"]


def tangled() -> list[Drag]:
    """A handle that must pass right by another one that stays."""
    return [drag(60, 60, 100, 60), drag(80, 62, 80, 62)]


def test_a_fold_is_refused_when_strict_and_else_warned_of(picture: Pixels, mask: Mask) -> None:
    outcome = warp(picture, mask, tangled())
    assert "warp_folds" in codes(outcome)
    assert outcome.measures["min_jacobian"] <= 0
    with pytest.raises(WarpFolds):
        warp(picture, mask, tangled(), strict=True)

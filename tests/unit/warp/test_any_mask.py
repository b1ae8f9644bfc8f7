"""Whatever mask and drags come: a right result or a clear refusal, never anything else."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.edits import Drag, Point
from shared.errors import DragNotReachable, InvalidRequest
from tests.unit.warp.warping import codes, drag, result, warp
from worker.evaluation.cases import find_cases, load_case

CASES = Path(__file__).parents[4] / "shared" / "dragcases"


def mask_of(kind: str, height: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    middle = (width // 2, height // 2)
    if kind == "whole":
        mask[:] = 1
    elif kind == "noise":
        mask[:] = random.random((height, width)) < 0.97
    elif kind == "crescent":
        cv2.circle(mask, middle, min(middle) + 1, 1, -1)
        cv2.circle(mask, (middle[0] + width // 5, middle[1]), min(middle) // 2 + 1, 0, -1)
    elif kind == "corner":
        mask[: height // 2, : width // 3 + 1] = 1
        mask[height // 4 : height // 2, : 4 * width // 5] = 1
    elif kind == "edge":
        cv2.circle(mask, (0, middle[1]), max(1, 2 * height // 5), 1, -1)
    else:
        ends = random.integers(0, (width, height), (4, 2)).astype(np.int32)
        cv2.polylines(mask, [ends], False, 1, max(3, min(height, width) // 5))
    return mask > 0


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from(["whole", "noise", "crescent", "corner", "edge", "snake"]),
    size=st.tuples(st.integers(1, 72), st.integers(1, 72)),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 4),
    far=st.booleans(),
    quality=st.sampled_from(["full", "preview"]),
)
def test_any_edit_is_done_rightly_or_refused_clearly(
    kind: str, size: tuple[int, int], seed: int, count: int, far: bool, quality: str
) -> None:
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (*size, int(random.choice([3, 4]))), dtype=np.uint8)
    mask = mask_of(kind, *size, seed)
    drags = random_drags(random, mask, count, far)
    try:
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            outcome = warp(picture, mask, drags, quality=quality)
    except (InvalidRequest, DragNotReachable):
        return
    assert outcome.measures["target_error_px"] <= 0.05
    assert np.isfinite(list(outcome.measures.values())).all()
    assert np.array_equal(result(outcome)[~mask], picture[~mask])
    assert ("warp_folds" in codes(outcome)) == (outcome.measures["min_jacobian"] <= 0)


def random_drags(
    random: np.random.Generator, mask: np.ndarray, count: int, far: bool
) -> list[Drag]:
    height, width = mask.shape
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero(inner)
    if len(rows) == 0:
        rows, columns = np.array([height // 2]), np.array([width // 2])
    drags = []
    for _ in range(count):
        i, j = random.integers(len(rows), size=2)
        handle = Point(float(columns[i]), float(rows[i]))
        near = Point(handle.x + float(random.normal(0, 4)), handle.y + float(random.normal(0, 4)))
        drags.append(Drag(handle, Point(float(columns[j]), float(rows[j])) if far else near))
    return drags


@pytest.mark.parametrize("shape", [(1, 60), (60, 1), (1, 1), (8, 8), (2, 50)])
def test_tiny_pictures_are_done_or_refused(shape: tuple[int, int]) -> None:
    picture = np.arange(3 * shape[0] * shape[1], dtype=np.uint8).reshape(*shape, 3)
    along = drag(*(min(v, n - 1) for v, n in zip((20, 3, 23, 4), shape[::-1] * 2, strict=True)))
    try:
        outcome = warp(picture, np.ones(shape, bool), [along])
    except (InvalidRequest, DragNotReachable):
        return
    assert result(outcome).shape == picture.shape


def test_a_point_next_to_the_border_arrives_when_the_mask_is_large() -> None:
    picture = np.zeros((1200, 1200, 3), np.uint8)
    mask = np.zeros((1200, 1200), bool)
    mask[5:-5, 5:-5] = True
    measures = warp(picture, mask, [drag(9, 600, 30, 600)]).measures
    assert measures["target_error_px"] < 0.05
    assert measures["min_jacobian"] > 0


@pytest.mark.slow
def test_a_picture_of_40_megapixels_is_warped() -> None:
    picture = np.zeros((5000, 8000, 3), np.uint8)
    outcome = warp(picture, np.ones((5000, 8000), bool), [drag(3000, 2500, 4000, 2600)])
    assert outcome.measures["target_error_px"] < 0.05
    assert outcome.measures["min_jacobian"] > 0


@pytest.mark.slow
def test_a_picture_wider_than_opencv_allows_is_warped() -> None:
    picture = np.zeros((40, 40_000, 3), np.uint8)
    outcome = warp(picture, np.ones((40, 40_000), bool), [drag(3000, 20, 3010, 20)])
    assert outcome.measures["target_error_px"] < 0.05


@pytest.mark.slow
@pytest.mark.skipif(not CASES.is_dir(), reason="the drag cases are not here")
@pytest.mark.parametrize("long_side", [None, 2048])
def test_every_drag_case_arrives_without_a_fold(long_side: int | None) -> None:
    for folder in find_cases(CASES):
        case = load_case(folder, long_side)
        outcome = warp(case.picture_HWC, case.mask_HW, list(case.drags))
        told = json.dumps({"case": case.name, **outcome.measures})
        assert outcome.measures["target_error_px"] <= 0.05, told
        assert outcome.measures["min_jacobian"] > 0, told
        assert np.array_equal(result(outcome)[~case.mask_HW], case.picture_HWC[~case.mask_HW])

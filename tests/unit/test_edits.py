"""The request as a value: through JSON and back, and what is wrong with it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edits import (
    Drag,
    JobSpec,
    MaskImage,
    MaskPolygon,
    MaskRect,
    Point,
    Priority,
    check_points,
    check_round,
    drag_from_json,
    is_inside,
    mask_from_json,
)

coordinates = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)
points = st.builds(Point, coordinates, coordinates)
drags = st.builds(Drag, points, points)
rounds = st.lists(st.lists(drags, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3)
masks = st.one_of(
    st.none(),
    st.builds(MaskImage, st.text(min_size=1)),
    st.builds(MaskRect, coordinates, coordinates, coordinates, coordinates),
    st.builds(MaskPolygon, st.lists(points, min_size=3, max_size=6).map(tuple)),
)
options = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers() | coordinates | st.text(), max_size=5
)


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    those = tuple(draw(rounds))
    return JobSpec(
        image=draw(st.text(min_size=1)),
        mask=draw(masks),
        rounds=those,
        engine=draw(st.text(min_size=1)),
        options=draw(options),
        is_single=len(those) == 1 and draw(st.booleans()),
        priority=draw(st.sampled_from(Priority)),
        expires_in_s=draw(st.none() | st.integers(1, 10**6)),
        timeout_s=draw(st.integers(1, 10**6)),
    )


@given(specs())
def test_a_spec_is_the_same_when_it_went_through_json(spec: JobSpec) -> None:
    assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_spec_shows_drags_or_rounds_when_its_caller_wrote_it_so() -> None:
    drag = Drag(Point(1, 2), Point(3.5, 4))
    one = JobSpec("img_a", None, ((drag,),), "warp")
    assert one.to_json()["drags"] == [{"handle": [1, 2], "target": [3.5, 4]}]
    assert "rounds" not in one.to_json()
    two = JobSpec("img_a", None, ((drag,),), "warp", is_single=False)
    assert two.to_json()["rounds"] == [[{"handle": [1, 2], "target": [3.5, 4]}]]
    assert "drags" not in two.to_json()


@pytest.mark.parametrize(
    ("written", "mask"),
    [
        (None, None),
        ("img_1", MaskImage("img_1")),
        ({"rect": [0, 1, 2.5, 3]}, MaskRect(0, 1, 2.5, 3)),
        ({"polygon": [[0, 0], [1, 0], [1, 1]]},
         MaskPolygon((Point(0, 0), Point(1, 0), Point(1, 1)))),
    ],
)  # fmt: skip
def test_a_mask_is_understood_in_each_form_of_the_contract(written: object, mask: object) -> None:
    assert mask_from_json(written) == mask


def test_a_spec_tells_its_uploaded_mask_only_when_it_has_one() -> None:
    assert JobSpec("img_a", MaskImage("img_m"), (), "warp").mask_image == "img_m"
    assert JobSpec("img_a", MaskRect(0, 0, 1, 1), (), "warp").mask_image is None
    assert JobSpec("img_a", None, (), "warp").mask_image is None


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [(0, 0, True), (9, 4, True), (9.001, 4, False), (9, 4.001, False), (-0.001, 0, False),
     (0, -0.001, False), (-0.0, 0, True), (math.nan, 0, False), (0, math.inf, False)],
)  # fmt: skip
def test_a_point_is_inside_up_to_the_centre_of_the_last_pixel(
    x: float, y: float, inside: bool
) -> None:
    assert is_inside(Point(x, y), width=10, height=5) is inside


def test_every_point_outside_is_named_when_several_are() -> None:
    located = [
        ("/drags/0", Drag(Point(0, 0), Point(10, 0))),
        ("/drags/1", Drag(Point(-1, 0), Point(3, 5))),
    ]
    found = check_points(located, 10, 5)
    assert [v.pointer for v in found] == ["/drags/0/target", "/drags/1/handle", "/drags/1/target"]
    assert {v.code for v in found} == {"point_outside_image"}


def _round(*pairs: tuple[tuple[float, float], tuple[float, float]]) -> list[tuple[str, Drag]]:
    return [
        (f"/drags/{index}", drag_from_json({"handle": handle, "target": target}))
        for index, (handle, target) in enumerate(pairs)
    ]


def test_a_round_is_right_when_one_point_only_holds_and_another_moves() -> None:
    assert check_round("/drags", _round(((1, 1), (1, 1)), ((2, 2), (3, 3)))) == []


def test_a_round_moves_nothing_when_every_handle_is_its_own_target() -> None:
    found = check_round("/rounds/1", _round(((1, 1), (1, 1)), ((2, 2), (2, 2))))
    assert [(v.pointer, v.code) for v in found] == [("/rounds/1", "zero_length_drags")]


def test_every_later_twin_is_named_when_points_coincide() -> None:
    found = check_round("/drags", _round(((1, 1), (5, 5)), ((1.0, 1), (6, 6)), ((1, 1), (5, 5))))
    assert [(v.pointer, v.code) for v in found] == [
        ("/drags/1/handle", "duplicate_handle"),
        ("/drags/2/handle", "duplicate_handle"),
        ("/drags/2/target", "duplicate_target"),
    ]
    assert "/drags/0/handle" in found[0].detail


def test_a_round_without_drags_has_nothing_wrong_with_its_points() -> None:
    assert check_round("/drags", []) == []

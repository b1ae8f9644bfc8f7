"""How edits are written on a command line."""

from __future__ import annotations

import pytest

from towline.cli import notation


def test_a_drag_is_two_points() -> None:
    assert notation.drag(" 120,80:150.5,60 ") == {"handle": [120, 80], "target": [150.5, 60]}


def test_drags_stand_between_semicolons_and_rounds_between_bars() -> None:
    first, second, third = ({"handle": [n, n], "target": [n, n + 1]} for n in (1, 2, 3))
    assert notation.drags("1,1:1,2; 2,2:2,3;") == [first, second]
    assert notation.rounds("1,1:1,2;2,2:2,3 | 3,3:3,4") == [[first, second], [third]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("120,80", "there is no ':'"),
        ("1,2:3,4:5,6", "more than one ':'"),
        ("1:3,4", "the handle '1' has 1 numbers, not 2"),
        ("1,2:3,4,5", "the target '3,4,5' has 3 numbers, not 2"),
        ("1,2:3,b", "the target '3,b': 'b' is no number"),
        ("1,2:3,", "'' is no number"),
        ("1,2:3,nan", "'nan' is no number"),
        ("1,2:3,1_0", "'1_0' is no number"),
    ],
)
def test_a_drag_says_which_part_is_wrong_and_how_it_should_be(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="120,80:150,60") as raised:
        notation.drag(text)
    assert said in str(raised.value)


def test_no_drag_is_said_when_there_is_none() -> None:
    with pytest.raises(ValueError, match="there is no drag"):
        notation.drags(" ; ")


def test_shapes() -> None:
    assert notation.rect("1,2, 30,40") == {"rect": [1, 2, 30, 40]}
    assert notation.polygon("1,2 3,4  5,6") == {"polygon": [[1, 2], [3, 4], [5, 6]]}


@pytest.mark.parametrize("text", ["1,2,3", "5,5,5,9", "9,1,2,3", "a,b,c,d"])
def test_a_rectangle_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.split(",")[0]):
        notation.rect(text)


def test_a_polygon_of_two_corners_is_refused() -> None:
    with pytest.raises(ValueError, match="three corners"):
        notation.polygon("1,2 3,4")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps=8", 8),
        ("strict=true", True),
        ("guidance=3.5", 3.5),
        ("split_px=null", None),
        ("quality=preview", "preview"),
        ("output=[1]", "[1]"),
        ("x=Infinity", "Infinity"),
        ("x=", ""),
    ],
)
def test_an_option_is_a_number_a_truth_value_or_a_word(text: str, value: object) -> None:
    found = notation.option(text)[1]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["steps", "=8"])
def test_an_option_without_a_name_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=VALUE"):
        notation.option(text)

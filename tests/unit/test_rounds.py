"""A long drag as several short ones. No torch needed."""

from __future__ import annotations

import pytest

from shared.edits import Drag, Point
from shared.errors import InvalidRequest
from shared.rounds import MAX_ROUNDS, split_rounds

LONG = Drag(Point(10, 20), Point(110, 20))
SHORT = Drag(Point(0, 0), Point(4, 0))


def test_nothing_is_split_unasked() -> None:
    assert split_rounds(((LONG, SHORT),), None) == ((LONG, SHORT),)


def test_no_part_is_longer_than_asked_and_each_starts_where_the_last_one_ended() -> None:
    found = split_rounds(((LONG, SHORT),), 30)
    assert len(found) == 4
    assert [drags[0].handle.x for drags in found] == [10, 35, 60, 85]
    assert [drags[0].target.x for drags in found] == [35, 60, 85, 110]
    assert [drags[1].target.x for drags in found] == [1, 2, 3, 4]


def test_every_round_is_split_by_its_own_longest_drag() -> None:
    assert len(split_rounds(((LONG,), (SHORT,)), 50)) == 3


def test_a_round_of_just_that_length_stays_whole() -> None:
    assert split_rounds(((LONG,),), 100) == ((LONG,),)


def test_a_round_without_drags_stays_a_round() -> None:
    assert split_rounds(((),), 5) == ((),)


def test_too_many_rounds_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=str(MAX_ROUNDS)):
        split_rounds(((LONG,),), 1)

"""The tree of errors: as it is drawn, and each leaf with a code of its own."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from shared import errors
from shared.errors import EngineFailed, InvalidRequest, TowlineError, Unavailable, Violation


def _below(cls: type[TowlineError]) -> list[type[TowlineError]]:
    found = []
    for sub in cls.__subclasses__():
        if sub.__module__ == errors.__name__:
            found += [sub, *_below(sub)]
    return found


CLASSES = _below(TowlineError)
LEAVES = [cls for cls in CLASSES if not _below(cls)]


def test_each_concrete_error_has_a_code_of_its_own() -> None:
    codes = Counter(cls.code for cls in LEAVES)
    assert [code for code, times in codes.items() if times > 1] == []
    assert all("code" in vars(cls) for cls in LEAVES)


def test_no_error_between_has_a_code_since_only_leaves_are_raised() -> None:
    assert [cls.__name__ for cls in CLASSES if cls not in LEAVES and "code" in vars(cls)] == []


def test_the_drawing_has_every_class_just_where_it_is() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│ ├└─]*)([A-Z]\w+)(?:\s|$)", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else ""
    assert drawn.pop("TowlineError") == ""
    assert drawn == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}


def test_an_error_is_worth_a_retry_only_when_a_server_is_away() -> None:
    assert [cls for cls in CLASSES if cls.retryable != issubclass(cls, Unavailable)] == []


def test_a_message_says_every_violation_when_there_are_several() -> None:
    error = InvalidRequest([Violation("/a", "x", "too long"), Violation("", "y", "too odd")])
    assert error.message == str(error) == "/a: too long; /: too odd"
    with pytest.raises(ValueError, match="at least one"):
        InvalidRequest([])


def test_an_unforeseen_error_tells_its_kind_and_not_its_text() -> None:
    error = EngineFailed.from_unforeseen(KeyError("/home/someone/secret"))
    assert "KeyError" in error.message
    assert "secret" not in error.message

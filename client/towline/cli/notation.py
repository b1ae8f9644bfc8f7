"""How edits are written on a command line and in a CSV cell.

    120,80:150,60                    a drag: what lies at (120, 80) goes to (150, 60)
    120,80:150,60; 30,40:30,20       drags of one round
    10,10,200,150                    a rectangle: x0,y0,x1,y1
    10,10 200,10 100,150             a polygon: its corners
    seed=42                          an option: a number, true, false, null, or a word

`ValueError` says which part is wrong, and how it should be.
"""

from __future__ import annotations

import json
import math
from typing import Any

Number = int | float

_DRAG = "write X,Y:X,Y such as 120,80:150,60"


def drag(text: str) -> dict[str, list[Number]]:
    """`{"handle": [x, y], "target": [x, y]}`."""
    ends = text.split(":")
    if len(ends) != 2:
        what = "there is no ':'" if len(ends) < 2 else "there is more than one ':'"
        raise ValueError(f"{text.strip()!r}: {what} between handle and target; {_DRAG}")
    return {
        name: _numbers(end, 2, f"{text.strip()!r}: the {name} {end.strip()!r}", _DRAG)
        for name, end in zip(("handle", "target"), ends, strict=True)
    }


def drags(text: str) -> list[dict[str, list[Number]]]:
    """Those of one round, between semicolons."""
    found = [drag(each) for each in text.split(";") if each.strip()]
    if not found:
        raise ValueError(f"there is no drag in {text!r}; {_DRAG}")
    return found


def rounds(text: str) -> list[list[dict[str, list[Number]]]]:
    """Rounds between bars, each of drags between semicolons."""
    return [drags(each) for each in text.split("|")]


def rect(text: str) -> dict[str, list[Number]]:
    """`{"rect": [x0, y0, x1, y1]}`."""
    shape = "write X0,Y0,X1,Y1 such as 10,10,200,150"
    numbers = _numbers(text, 4, repr(text.strip()), shape)
    if numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise ValueError(f"{text.strip()!r}: nothing is inside (x0 < x1 and y0 < y1 are needed)")
    return {"rect": numbers}


def polygon(text: str) -> dict[str, list[list[Number]]]:
    """`{"polygon": [[x, y], ...]}`."""
    shape = "write corners such as 10,10 200,10 100,150"
    corners = [
        _numbers(each, 2, f"corner {number} {each!r}", shape)
        for number, each in enumerate(text.split(), 1)
    ]
    if len(corners) < 3:
        raise ValueError(f"{text!r}: a polygon has three corners at least; {shape}")
    return {"polygon": corners}


def option(text: str) -> tuple[str, Any]:
    """Its name and value."""
    name, is_there, value = text.partition("=")
    if not is_there or not name.strip():
        raise ValueError(f"{text!r}: write NAME=VALUE such as steps=8")
    return name.strip(), value_of(value)


def label(text: str) -> tuple[str, str]:
    """Name and value of a metadata pair: always text."""
    name, is_there, value = text.partition("=")
    if not is_there or not name.strip():
        raise ValueError(f"{text!r}: write NAME=VALUE such as order=1234")
    return name.strip(), value


def value_of(text: str) -> Any:
    """A number, true, false or null, else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip()
    is_plain = value is None or isinstance(value, bool | int | float)
    return value if is_plain and _is_finite(value) else text.strip()


def _numbers(text: str, count: int, what: str, shape: str) -> list[Number]:
    parts = text.split(",")
    if len(parts) != count:
        raise ValueError(f"{what} has {len(parts)} numbers, not {count}; {shape}")
    return [_number(part, what, shape) for part in parts]


def _number(text: str, what: str, shape: str) -> Number:
    try:
        number = float(text)
        if "_" in text or not math.isfinite(number):
            raise ValueError
    except ValueError:
        raise ValueError(f"{what}: {text.strip()!r} is no number; {shape}") from None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)

"""Several rounds in one edit, and a long drag as several short ones (paper, section 4.4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.edits import Drag, JobSpec, Point
from shared.errors import InvalidRequest, Violation

MAX_ROUNDS = 32  #: after splitting; each is a whole run of the model

Drags = tuple[Drag, ...]


def split_rounds(rounds: tuple[Drags, ...], split_px: float | None) -> tuple[Drags, ...]:
    """Every round as several, in none of which a point moves more than `split_px` pixels.

    The drags of a round are cut into equally many parts, along the straight line from handle to
    target. `InvalidRequest` where that makes more than `MAX_ROUNDS` rounds.
    """
    if split_px is None:
        return rounds
    if violations := split_violations(rounds, split_px):
        raise InvalidRequest(violations)
    return tuple(part for drags in rounds for part in _split_round(drags, split_px))


def split_violations(rounds: Sequence[Sequence[Drag]], split_px: float) -> list[Violation]:
    """What is wrong with splitting these rounds so: too many of them."""
    count = sum(_parts(drags, split_px) for drags in rounds)
    if count <= MAX_ROUNDS:
        return []
    detail = f"that makes {count} rounds; {MAX_ROUNDS} are the most"
    return [Violation("/options/split_px", "too_many_rounds", detail)]


def expected_steps(spec: JobSpec) -> int | None:
    """How many steps the job will take, where its options say that."""
    steps: int | None = spec.options.get("steps")
    if steps is None:
        return None
    return steps * len(split_rounds(spec.rounds, spec.options.get("split_px")))


def _split_round(drags: Drags, split_px: float) -> tuple[Drags, ...]:
    parts = _parts(drags, split_px)
    return tuple(tuple(_part(drag, k, parts) for drag in drags) for k in range(parts))


def _parts(drags: Sequence[Drag], split_px: float) -> int:
    longest = max((_length_px(drag) for drag in drags), default=0.0)
    return max(1, math.ceil(longest / split_px))


def _part(drag: Drag, number: int, parts: int) -> Drag:
    return Drag(_along(drag, number / parts), _along(drag, (number + 1) / parts))


def _along(drag: Drag, share: float) -> Point:
    return Point(
        drag.handle.x + share * (drag.target.x - drag.handle.x),
        drag.handle.y + share * (drag.target.y - drag.handle.y),
    )


def _length_px(drag: Drag) -> float:
    return math.hypot(drag.target.x - drag.handle.x, drag.target.y - drag.handle.y)

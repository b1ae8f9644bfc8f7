"""What every engine offers, for those who must know it without running it. No code of theirs.

The API checks a request against this; `GET /v1/engines` shows it. An option's range
is the contract's, the same for every engine; an engine has an option or it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from shared.canvas import canvas_size

SEED_MAX = 2**53 - 1  #: the largest whole number that JSON carries safely (RFC 8259, section 6)


Scheduler = Literal["lcm", "ddim"]
GuidanceDecay = Literal["none", "linear", "square", "quadratic", "inv_square"]
Quality = Literal["full", "preview"]
Output = Literal["composite", "canvas"]
Format = Literal["png", "webp", "jpeg"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an edit: its kind, its range, and what it is when nobody says."""

    kind: Literal["integer", "number", "boolean", "choice"]
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


OPTIONS: dict[str, Option] = {
    "candidates": Option("integer", default=1, minimum=1, maximum=8),
    "seed": Option("integer", minimum=0, maximum=SEED_MAX),
    "steps": Option("integer", default=8, minimum=1, maximum=50),
    "guidance": Option("number", default=3.0, minimum=0, maximum=20),
    "guidance_decay": Option("choice", default="inv_square", choices=get_args(GuidanceDecay)),
    "split_px": Option("number", minimum=1, maximum=4096),
    "quality": Option("choice", default="full", choices=get_args(Quality)),
    "strict": Option("boolean", default=False),
    "output": Option("choice", default="composite", choices=get_args(Output)),
    "format": Option("choice", default="png", choices=get_args(Format)),
    "cache": Option("boolean", default=True),
}


#: Defaults that are the scheduler's, not the option's own: the authors' demo, with LCM or without.
SCHEDULER_DEFAULTS: dict[Scheduler, dict[str, Any]] = {
    "lcm": {"steps": 8, "guidance": 3.0},
    "ddim": {"steps": 25, "guidance": 4.0},
}


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine as its callers see it.

    options: the names it takes, out of `OPTIONS`.
    max_candidates: how many pictures one job may ask it for.
    border_px: how far inside the mask a point must lie; 0 for an engine that needs no room.
    is_trained: whether a trained model makes the picture (its provenance says so).
    has_canvas: whether it works at a size of its own (`shared/canvas.py`), not at the picture's.
    """

    name: str
    options: frozenset[str]
    max_candidates: int
    border_px: float
    is_trained: bool
    has_canvas: bool

    def canvas(self, width: int, height: int) -> tuple[int, int]:
        """The size at which the engine works, for a picture of this size."""
        return canvas_size(width, height) if self.has_canvas else (width, height)

    def defaults(self, scheduler: Scheduler) -> dict[str, Any]:
        """What each of its options is when nobody says, with the scheduler that is loaded."""
        own = {name: OPTIONS[name].default for name in sorted(self.options)}
        return {name: SCHEDULER_DEFAULTS[scheduler].get(name, own[name]) for name in own}


ENGINES: dict[str, EngineSpec] = {
    "warp": EngineSpec(
        name="warp",
        options=frozenset({"candidates", "seed", "quality", "strict", "output", "format", "cache"}),
        max_candidates=1,
        border_px=2.0,
        is_trained=False,
        has_canvas=False,
    ),
    "lightningdrag": EngineSpec(
        name="lightningdrag",
        options=frozenset(OPTIONS) - {"quality", "strict"},
        max_candidates=8,
        border_px=0.0,
        is_trained=True,
        has_canvas=True,
    ),
}

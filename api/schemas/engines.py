"""What clients are told of engines."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class OptionOut(BaseModel):
    """One option: its kind, its range or choices, and its default."""

    type: str
    default: Any
    minimum: float | None
    maximum: float | None
    choices: list[str] | None


class EngineOut(BaseModel):
    """One engine that is configured; `up` says whether a worker runs it now."""

    name: str
    is_default: bool
    up: bool
    threads: int
    model_digest: str | None
    options: dict[str, OptionOut]


class EnginesOut(BaseModel):
    """The engines that are configured."""

    data: list[EngineOut]

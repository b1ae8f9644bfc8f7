"""The engines by name; each is imported only when a worker is asked to run it."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from worker.engines.base import Engine

ENGINES = {
    "warp": "worker.engines.warp.engine:WarpEngine",
}


def load_engine(name: str) -> Engine:
    """Build the engine called `name`; `KeyError` for a name that no engine has."""
    module, _, attribute = ENGINES[name].partition(":")
    return cast("Engine", getattr(import_module(module), attribute)())

"""The engines by name; each is imported only when a worker is asked to run it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from worker.engines.base import EngineUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.settings import Settings
    from worker.engines.base import Engine

ENGINES = {
    "warp": "worker.engines.warp.engine:load",
    "lightningdrag": "worker.engines.lightningdrag.serving:load",
}


def load_engine(name: str, settings: Settings) -> Engine:
    """Build the engine called `name`; `EngineUnusable` says what it lacks.

    `KeyError` for a name that no engine has.
    """
    module, _, function = ENGINES[name].partition(":")
    try:
        load: Callable[[Settings], Engine] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        raise EngineUnusable(
            f"the engine {name} needs the Python package {error.name}, which is not installed"
            f" (docs/engines/{name}.md tells what to install)"
        ) from error
    return load(settings)

"""`/v1/engines`: what can be asked for here."""

from __future__ import annotations

from typing import Any

from flask_openapi3 import APIBlueprint, Tag

from api.context import services
from api.openapi import operation_id, problems
from api.schemas.engines import EnginesOut
from shared.engines import ENGINES, OPTIONS, EngineSpec, Scheduler
from shared.engines_up import EngineUp

engines = APIBlueprint(
    "engines", __name__, url_prefix="/v1/engines", abp_tags=[Tag(name="engines")],
    abp_security=[{"key": []}], operation_id_callback=operation_id,
)  # fmt: skip


@engines.get("", responses={200: EnginesOut, **problems(503)})
def list_engines() -> Any:
    """The engines that are configured: their options, whether workers are up, which model."""
    settings = services().settings
    up = services().engines_up.all()
    return {
        "data": [
            {
                "name": name,
                "is_default": name == settings.default_engine,
                **_state(up.get(name)),
                "options": _options(ENGINES[name], settings.model_scheduler),
            }
            for name in settings.engines
        ]
    }


def _state(up: EngineUp | None) -> dict[str, Any]:
    if up is None:
        return {"up": False, "threads": 0, "model_digest": None}
    return {"up": True, "threads": up.threads, "model_digest": up.model_digest}


def _options(engine: EngineSpec, scheduler: Scheduler) -> dict[str, Any]:
    options = {}
    for name, default in engine.defaults(scheduler).items():
        option = OPTIONS[name]
        maximum = engine.max_candidates if name == "candidates" else option.maximum
        options[name] = {
            "type": option.kind,
            "default": default,
            "minimum": option.minimum,
            "maximum": maximum,
            "choices": list(option.choices) or None,
        }
    return options

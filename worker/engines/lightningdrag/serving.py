"""From the settings of a worker to its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import torch

from shared.canvas import LATENT_PX, SIDE_STEP_PX
from worker.engines.base import EngineUnusable
from worker.engines.lightningdrag.config import DtypeName, ModelConfig
from worker.engines.lightningdrag.device import is_lack_of_memory
from worker.engines.lightningdrag.engine import LightningDragEngine
from worker.engines.lightningdrag.speed import Pass, Speed

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger()


def load(settings: Settings) -> LightningDragEngine:
    """Load the model that the settings name; `EngineUnusable` says what is wrong with them."""
    config = model_config(settings)
    speed = speed_of(settings, config)
    log.info("model_loading", folder=str(config.folder), device=config.device, dtype=config.dtype)
    try:
        engine = LightningDragEngine.load(config, speed)
    except RuntimeError as error:
        if not is_lack_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise EngineUnusable(
            f"the model does not fit into the memory of {config.device}: {reason}"
        ) from None
    log.info("model_loaded", digest=engine.model_digest, fixed_sizes=len(speed.fixed))
    return engine


def model_config(settings: Settings) -> ModelConfig:
    """Which model, and where; `auto` is decided here."""
    if settings.model_dir is None:
        raise EngineUnusable(
            "TOWLINE_MODEL_DIR: the engine lightningdrag needs the folder of its checkpoints"
            " (docs/engines/lightningdrag.md says where they are found)"
        )
    device = settings.model_device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device != "cpu" and not torch.cuda.is_available():
        raise EngineUnusable(f"TOWLINE_MODEL_DEVICE: {device}, but torch finds no CUDA here")
    return ModelConfig(
        folder=settings.model_dir,
        scheduler=settings.model_scheduler,
        device=device,
        dtype=_dtype(settings, on_cpu=device == "cpu"),
    )


def _dtype(settings: Settings, *, on_cpu: bool) -> DtypeName:
    if settings.model_dtype != "auto":
        return settings.model_dtype
    return "float32" if on_cpu else "float16"


def speed_of(settings: Settings, config: ModelConfig) -> Speed:
    """The switches; those that the device does not have are an error, not ignored."""
    if settings.model_cuda_graphs and config.device == "cpu":
        raise EngineUnusable("TOWLINE_MODEL_CUDA_GRAPHS: there is no CUDA graph on a CPU")
    wants_fixed = settings.model_compile or settings.model_cuda_graphs
    if wants_fixed and not settings.model_fixed_sizes:
        raise EngineUnusable(
            "TOWLINE_MODEL_FIXED_SIZES: which sizes are to be compiled or captured?"
            " For example 512x512x1,512x512x4"
        )
    return Speed(
        channels_last=settings.model_channels_last,
        kernels=settings.model_attention,
        compile=settings.model_compile,
        cuda_graphs=settings.model_cuda_graphs,
        fixed=tuple(map(_pass, settings.model_fixed_sizes)),
    )


def _pass(size: str) -> Pass:
    width, height, candidates = map(int, size.split("x"))
    if width % SIDE_STEP_PX or height % SIDE_STEP_PX:
        raise EngineUnusable(
            f"TOWLINE_MODEL_FIXED_SIZES: {size}: the sides of a canvas are multiples of"
            f" {SIDE_STEP_PX} pixels"
        )
    return Pass(height // LATENT_PX, width // LATENT_PX, candidates, guided=True)

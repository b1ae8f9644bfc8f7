"""From the settings to the model, and what is said when they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch

from shared.settings import Settings
from tests.golden.place import CHECKPOINTS
from worker.engines.base import BatchingEngine, EngineUnusable
from worker.engines.lightningdrag.serving import model_config, speed_of
from worker.engines.lightningdrag.speed import Pass
from worker.engines.registry import load_engine


def settings(**given: Any) -> Settings:
    return Settings(**{"model_dir": Path("/models"), **given})


def test_auto_is_a_cpu_in_single_precision_where_there_is_no_cuda() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = model_config(settings())
    assert (config.device, config.dtype, config.scheduler) == ("cpu", "float32", "lcm")
    with pytest.raises(EngineUnusable, match="TOWLINE_MODEL_DEVICE: cuda:1"):
        model_config(settings(model_device="cuda:1"))


def test_what_is_named_is_taken() -> None:
    given = settings(model_device="cpu", model_dtype="bfloat16", model_scheduler="ddim")
    config = model_config(given)
    assert (config.device, config.dtype, config.scheduler) == ("cpu", "bfloat16", "ddim")


def test_every_switch_is_a_setting() -> None:
    given = settings(
        model_device="cpu",
        model_channels_last=True,
        model_attention="flash,efficient",
        model_compile=True,
        model_fixed_sizes="512x448x4, 512x512x1",
    )
    speed = speed_of(given, model_config(given))
    assert speed.channels_last
    assert speed.compile
    assert speed.kernels == ("flash", "efficient")
    assert speed.fixed == (Pass(56, 64, 4, guided=True), Pass(64, 64, 1, guided=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model_dir": None}, "TOWLINE_MODEL_DIR"),
        ({"model_cuda_graphs": True, "model_fixed_sizes": "512x512x1"}, "CUDA_GRAPHS"),
        ({"model_compile": True}, "TOWLINE_MODEL_FIXED_SIZES: which"),
        ({"model_fixed_sizes": "512x500x1"}, "512x500x1.*multiples of 64"),
        ({"model_dir": Path("/nowhere")}, "unet/config.json is missing"),
    ],
)
def test_settings_that_do_not_fit_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineUnusable, match=said):
        load_engine("lightningdrag", settings(model_device="cpu", **given))


def test_the_engine_that_is_loaded_makes_batches() -> None:
    engine = load_engine("lightningdrag", settings(model_dir=CHECKPOINTS))
    assert isinstance(engine, BatchingEngine)
    assert engine.model_digest.startswith("ld1:lcm:float32:")


def test_a_model_that_does_not_fit_into_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore words.")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", fail)
    with pytest.raises(EngineUnusable, match=r"not fit into the memory of cpu: .* 2 GiB\.$"):
        load_engine("lightningdrag", settings(model_dir=CHECKPOINTS, model_device="cpu"))

"""The switches: whatever is on, the pictures are the same."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch

from tests.golden.place import CHECKPOINTS
from tests.unit.lightningdrag.test_batch import assert_same, final_latents
from tests.unit.lightningdrag.tiny import canvas_edit, tiny_model
from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.config import ModelConfig
from worker.engines.lightningdrag.denoiser import predict_noise
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.speed import (
    FixedPredictor,
    Pass,
    Speed,
    chosen_kernels,
    smallest_pass,
    speed_up,
)
from worker.engines.lightningdrag.warm_up import warm_up

FIXED = (Pass(8, 16, 4, True), Pass(8, 16, 6, True), Pass(8, 16, 4, False))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("counts", [(1,), (2, 1), (3, 3), (4, 4)])
def test_a_padded_batch_is_the_batch(counts: tuple[int, ...], guidance: float) -> None:
    model = tiny_model()
    edits = [
        canvas_edit(number, candidates=count, guidance=guidance)
        for number, count in enumerate(counts)
    ]
    padded = FixedPredictor(model.networks.unet, Speed(fixed=FIXED))
    wanted = final_latents(Pipeline(model), edits)
    for found, each in zip(final_latents(Pipeline(model, padded), edits), wanted, strict=True):
        assert_same(found, each)


def test_steps_behind_the_last_guided_one_are_padded_too() -> None:
    model = tiny_model()
    edit = canvas_edit(1, candidates=2, guidance_steps=1)
    padded = FixedPredictor(model.networks.unet, Speed(fixed=FIXED))
    (wanted,) = final_latents(Pipeline(model), [edit])
    (found,) = final_latents(Pipeline(model, padded), [edit])
    assert_same(found, wanted)


def test_the_smallest_pass_that_holds_a_batch_is_taken() -> None:
    def taken(candidates: int, guided: bool, width: int = 16) -> Pass | None:
        return smallest_pass(FIXED, torch.Size((candidates, 4, 8, width)), guided)

    assert taken(3, True) == FIXED[0]
    assert taken(5, True) == FIXED[1]
    assert taken(7, True) is None
    assert taken(5, False) is None
    assert taken(1, True, width=8) is None


@pytest.mark.slow
def test_a_compiled_call_is_the_plain_one_and_is_made_before_a_job_comes() -> None:
    model = tiny_model()
    speed = Speed(compile=True, fixed=FIXED[:1])
    predictor = speed_up(model, speed)
    assert isinstance(predictor, FixedPredictor)
    calls = []
    compiled = torch.compile(predictor.predict, dynamic=False, backend="eager", fullgraph=True)

    def counted(*given: object) -> torch.Tensor:
        calls.append(given)
        out: torch.Tensor = compiled(*given)
        return out

    predictor.predict = counted
    pipeline = Pipeline(model, predictor)
    warm_up(pipeline, speed)
    assert len(calls) == 2
    with torch.compiler.set_stance("fail_on_recompile"):
        found = final_latents(pipeline, [canvas_edit(0), canvas_edit(1, candidates=2)])
    wanted = final_latents(Pipeline(model), [canvas_edit(0), canvas_edit(1, candidates=2)])
    for each, other in zip(found, wanted, strict=True):
        assert_same(each, other)


def test_channels_last_changes_nothing_beyond_rounding() -> None:
    edits = [canvas_edit(1, candidates=2)]
    model = build_model(ModelConfig(CHECKPOINTS))
    (wanted,) = final_latents(Pipeline(model), edits)
    predictor = speed_up(model, Speed(channels_last=True))
    conv = model.networks.unet.conv_in.weight
    assert conv.is_contiguous(memory_format=torch.channels_last)
    (found,) = final_latents(Pipeline(model, predictor), edits)
    assert_same(found, wanted)


def test_another_attention_kernel_changes_nothing_beyond_rounding() -> None:
    pipeline = Pipeline(tiny_model())
    (wanted,) = final_latents(pipeline, [canvas_edit(1)])
    with chosen_kernels(Speed(kernels=("math",))):
        (found,) = final_latents(pipeline, [canvas_edit(1)])
    assert_same(found, wanted)


class StandInGraph:
    """What a CUDA graph does, without one: works again on the very tensors that were captured."""

    predictor: FixedPredictor
    replays = 0

    def replay(self) -> None:
        StandInGraph.replays += 1
        (kept,) = (each for each in self.predictor._captured.values() if each.graph is self)
        again = predict_noise(self.predictor.unet, kept.sample, kept.timestep, kept.conditioning)
        kept.noise.copy_(again)


def test_a_captured_call_works_on_tensors_that_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("Stream", "current_stream", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, MagicMock)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", StandInGraph)
    model = tiny_model()
    predictor = FixedPredictor(model.networks.unet, Speed(cuda_graphs=True, fixed=FIXED))
    StandInGraph.predictor = predictor
    warm_up(Pipeline(model, predictor), predictor.speed)
    assert predictor._captured.keys() == set(FIXED)
    before = StandInGraph.replays
    for edits in ([canvas_edit(0)], [canvas_edit(1, candidates=3)], [canvas_edit(2, guidance=0)]):
        wanted = final_latents(Pipeline(model), edits)
        found = final_latents(Pipeline(model, predictor), edits)
        assert_same(found[0], wanted[0])
    assert StandInGraph.replays == before + 3 * 3


def test_cuda_graphs_are_refused_where_there_is_no_cuda() -> None:
    with pytest.raises(ValueError, match="CUDA"):
        speed_up(tiny_model(), Speed(cuda_graphs=True, fixed=FIXED))

"""The switches: whatever is on, the pictures are the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch

from tests.golden.place import CHECKPOINTS
from tests.unit.lightningdrag.test_batch import assert_same, final_latents
from tests.unit.lightningdrag.tiny import canvas_edit, tiny_model
from worker.engines.base import EngineUnusable
from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.config import ModelConfig
from worker.engines.lightningdrag.denoiser import predict_noise
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.speed import (
    FixedPredictor,
    Pass,
    Speed,
    at_work,
    smallest_pass,
    speed_up,
)
from worker.engines.lightningdrag.warm_up import (
    TIMES,
    blank_conditioning,
    one_call,
    seconds_of,
    warm_up,
    weigh,
)

CPU = torch.device("cpu")
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


def always_pays(call: Callable[[], object], device: torch.device) -> float:
    """A clock by which every call takes as long as any other."""
    return 1.0


@pytest.mark.slow
def test_a_compiled_call_is_the_plain_one_and_nothing_is_compiled_once_jobs_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[object] = []

    def backend(graph: Any, inputs: object) -> Any:
        compiled.append(graph)
        return graph.forward

    ours = partial(torch.compile, backend=backend, fullgraph=True)
    monkeypatch.setattr(torch, "compile", ours)
    model = tiny_model()
    speed = Speed(compile=True, fixed=FIXED[:1])
    predictor = speed_up(model, speed)
    assert isinstance(predictor, FixedPredictor)
    pipeline = Pipeline(model, predictor)
    warm_up(pipeline, speed, always_pays)
    assert len(compiled) == 1
    edits = [canvas_edit(0), canvas_edit(1, candidates=2)]
    with torch.compiler.set_stance("fail_on_recompile"):
        found = final_latents(pipeline, edits)
    for each, other in zip(found, final_latents(Pipeline(model), edits), strict=True):
        assert_same(each, other)
    one = FIXED[0]._replace(candidates=1)
    with at_work(CPU, speed), torch.inference_mode():  # of a size that the warm-up did not make
        predictor.predict(
            model.networks.unet,
            torch.zeros(1, 9, 8, 16),
            torch.tensor(3),
            blank_conditioning(model.networks.unet, one),
        )
    assert len(compiled) == 1


def test_more_fixed_sizes_than_torch_compiles_of_one_function_are_all_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.compiler.config, "recompile_limit", 8)
    fixed = tuple(Pass(8, 16, candidates, True) for candidates in range(1, 21))
    FixedPredictor(tiny_model().networks.unet, Speed(compile=True, fixed=fixed))
    assert torch.compiler.config.recompile_limit >= len(fixed)


@pytest.mark.parametrize(
    ("seconds", "pays_from"),
    [
        ([2.5, 4, 3, 2], 3),  # the pass of four; then the plain call of four, three, two
        ([5, 4], 5),  # it never does
        ([0.5, 4, 3, 2, 1], 1),
    ],
)
def test_a_pass_is_taken_where_it_is_quicker_than_the_plain_call_and_else_is_off(
    seconds: list[float], pays_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = tiny_model().networks.unet
    predictor, clock = FixedPredictor(unet, Speed(fixed=FIXED[:1])), iter(seconds)
    weigh(predictor, predictor.speed, lambda call, device: next(clock))
    assert next(clock, None) is None
    taken: list[int] = []
    monkeypatch.setattr(predictor, "predict", lambda unet, sample, *_: taken.append(len(sample)))
    monkeypatch.setattr(predictor, "eager", Plain(taken))
    for candidates in range(1, 5):
        with suppress(AttributeError):  # there is no noise to give back
            one_call(predictor, unet, FIXED[0]._replace(candidates=candidates))()
    assert taken == [-n for n in range(1, min(pays_from, 5))] + [4] * (5 - pays_from)


class Plain:
    """Notes the plain calls, with a minus, and makes none."""

    def __init__(self, taken: list[int]) -> None:
        self.taken = taken

    def on(self, conditioning: object, latents: torch.Size) -> Callable[..., None]:
        return lambda sample, timestep: self.taken.append(-len(sample))


def test_a_call_is_timed_some_times_after_one_that_is_not_counted() -> None:
    times: list[int] = []
    assert seconds_of(lambda: times.append(0), CPU) >= 0
    assert len(times) == 1 + TIMES


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
    with at_work(CPU, Speed(kernels=("math",))):
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


@pytest.mark.slow
def test_a_captured_call_works_on_tensors_that_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("Stream", "current_stream", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, MagicMock)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", StandInGraph)
    model = tiny_model()
    fixed = (Pass(8, 16, 2, True), Pass(8, 16, 3, True), Pass(8, 16, 1, False))
    predictor = FixedPredictor(model.networks.unet, Speed(cuda_graphs=True, fixed=fixed))
    StandInGraph.predictor = predictor
    warm_up(Pipeline(model, predictor), predictor.speed, always_pays)
    assert predictor._captured.keys() == set(fixed)
    before = StandInGraph.replays
    for edits in ([canvas_edit(0)], [canvas_edit(1, candidates=3)], [canvas_edit(2, guidance=0)]):
        wanted = final_latents(Pipeline(model), edits)
        found = final_latents(Pipeline(model, predictor), edits)
        assert_same(found[0], wanted[0])
    assert StandInGraph.replays == before + 3 * 3
    predictor.take_from(fixed[0], 3)
    assert predictor._captured.keys() == set(fixed[1:])


def test_attention_kernels_that_the_device_does_not_have_are_refused_before_any_job() -> None:
    with pytest.raises(EngineUnusable, match=r"kernel of cudnn takes heads of \d+ numbers in"):
        speed_up(tiny_model(), Speed(kernels=("cudnn",)))
    speed_up(tiny_model(), Speed(kernels=("cudnn", "math")))


def test_float32_is_not_rounded_by_convolutions_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    build_model(ModelConfig(CHECKPOINTS))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_cuda_graphs_are_refused_where_there_is_no_cuda() -> None:
    with pytest.raises(ValueError, match="CUDA"):
        speed_up(tiny_model(), Speed(cuda_graphs=True, fixed=FIXED))

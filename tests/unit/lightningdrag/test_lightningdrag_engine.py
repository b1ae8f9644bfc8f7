"""The engine as a worker sees it: pictures in, candidates out."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch

from shared import canvas
from shared.edits import Drag, Point
from shared.errors import EngineFailed, InvalidRequest
from tests.golden.place import CHECKPOINTS
from tests.unit.lightningdrag.tiny import canvas_edit, picture, tiny_model
from worker.engines.base import Asked, Edit, Outcome
from worker.engines.lightningdrag.batch import gather
from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.config import ModelConfig
from worker.engines.lightningdrag.engine import LightningDragEngine
from worker.engines.lightningdrag.memory import PASSING, row_bytes
from worker.engines.lightningdrag.pipeline import Pipeline


class Cancelled(Exception):
    """What a watch raises."""


class Listener:
    """Remembers what it was told; raises once so many steps are done."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.told: list[tuple[int, int]] = []
        self.stop_at = stop_at

    def step(self, done: int, steps: int) -> None:
        self.told.append((done, steps))
        if self.stop_at is not None and done >= self.stop_at:
            raise Cancelled

    def check(self) -> None:
        """Nothing ends it from outside."""


@pytest.fixture(autouse=True)
def _small_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "AREA_SIDE_PX", 128)


@pytest.fixture
def engine() -> LightningDragEngine:
    return LightningDragEngine(tiny_model())


def edit(seed: int = 0, **options: Any) -> Edit:
    mask = np.zeros((90, 120), np.bool_)
    mask[10:80, 15:100] = True
    return Edit(
        picture_HWC=picture(seed, 90, 120),
        mask_HW=mask,
        rounds=((Drag(Point(40, 40), Point(70 + seed, 45)),),),
        seed=seed + 7,
        candidates=options.pop("candidates", 1),
        options={"steps": 2, **options},
    )


def test_candidates_are_the_pictures_own_size_and_untouched_outside_of_the_mask(
    engine: LightningDragEngine,
) -> None:
    asked = edit(candidates=2)
    outcome = engine.run(asked, Listener())
    assert outcome.candidates[0].seed == asked.seed
    for candidate in outcome.candidates:
        assert candidate.picture_HWC.shape == asked.picture_HWC.shape
        kept = candidate.picture_HWC[~asked.mask_HW]
        assert np.array_equal(kept, asked.picture_HWC[~asked.mask_HW])
        assert not np.array_equal(candidate.picture_HWC, asked.picture_HWC)


def test_a_canvas_is_what_the_demo_gives(engine: LightningDragEngine) -> None:
    (candidate,) = engine.run(edit(output="canvas"), Listener()).candidates
    assert candidate.picture_HWC.shape == (128, 128, 3)


def test_progress_is_told_between_all_steps(engine: LightningDragEngine) -> None:
    listener = Listener()
    engine.run(edit(), listener)
    assert listener.told == [(0, 2), (1, 2), (2, 2)]


def test_what_the_watch_raises_ends_the_run(engine: LightningDragEngine) -> None:
    listener = Listener(stop_at=1)
    with pytest.raises(Cancelled):
        engine.run(edit(), listener)
    assert listener.told == [(0, 2), (1, 2)]


def test_the_same_edit_gives_the_same_bytes(engine: LightningDragEngine) -> None:
    first, second = (engine.run(edit(), Listener()).candidates[0] for _ in range(2))
    assert np.array_equal(first.picture_HWC, second.picture_HWC)


def test_a_candidate_can_be_asked_for_again_by_its_seed(engine: LightningDragEngine) -> None:
    many = edit(candidates=3, split_px=16)
    third = engine.run(many, Listener()).candidates[2]
    alone = Edit(many.picture_HWC, many.mask_HW, many.rounds, third.seed, 1, many.options)
    (again,) = engine.run(alone, Listener()).candidates
    difference = np.abs(again.picture_HWC.astype(int) - third.picture_HWC)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_a_long_drag_is_several_rounds(engine: LightningDragEngine) -> None:
    listener = Listener()
    outcome = engine.run(edit(split_px=16), listener)
    assert outcome.measures["rounds"] == 2
    assert listener.told[-1] == (4, 4)


def test_split_drags_that_meet_on_their_way_are_told_of(engine: LightningDragEngine) -> None:
    one = edit(split_px=20)
    crossing = (Drag(Point(40, 40), Point(70, 40)), Drag(Point(70, 40), Point(40, 40)))
    outcome = engine.run(
        Edit(one.picture_HWC, one.mask_HW, (crossing,), options=one.options), Listener()
    )
    assert [warning.code for warning in outcome.warnings] == ["points_meet"]


def test_threads_may_ask_at_once(engine: LightningDragEngine) -> None:
    edits = [edit(0), edit(1), edit(2)]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda each: engine.run(each, Listener()), edits))
    for each, outcome in zip(edits, together, strict=True):
        alone = engine.run(each, Listener()).candidates[0].picture_HWC
        assert np.array_equal(outcome.candidates[0].picture_HWC, alone)


def test_rounds_go_on_from_the_last_ones_picture(engine: LightningDragEngine) -> None:
    one = edit(output="canvas")
    two = Edit(one.picture_HWC, one.mask_HW, one.rounds * 2, one.seed, 1, one.options)
    after_one, after_two = (
        engine.run(each, Listener()).candidates[0].picture_HWC for each in (one, two)
    )
    assert not np.array_equal(after_one, after_two)


def together(
    engine: LightningDragEngine, edits: list[Edit], watches: list[Listener]
) -> list[Outcome | Exception]:
    """What a batch of them gives."""
    prepared = [engine.prepare(each) for each in edits]
    made = engine.run_together([Asked(*each) for each in zip(prepared, watches, strict=True)])
    return [each if isinstance(each, Exception) else each() for each in made]


def test_edits_together_are_the_edits_alone_and_one_that_stops_harms_none(
    engine: LightningDragEngine,
) -> None:
    edits = [edit(0, candidates=2), edit(1), edit(2, split_px=16)]
    watches = [Listener(), Listener(stop_at=1), Listener()]
    outcomes = together(engine, edits, watches)
    assert isinstance(outcomes[1], Cancelled)
    assert watches[1].told == [(0, 2), (1, 2)]
    for number in (0, 2):
        found, alone = outcomes[number], engine.run(edits[number], Listener())
        assert isinstance(found, Outcome)
        for a, b in zip(found.candidates, alone.candidates, strict=True):
            assert a.seed == b.seed
            assert np.abs(a.picture_HWC.astype(int) - b.picture_HWC).max() <= 1


def test_one_group_is_one_canvas_one_number_of_steps_guided_or_not(
    engine: LightningDragEngine,
) -> None:
    group = engine.prepare(edit(0)).group
    assert engine.prepare(edit(1, guidance=7.0, candidates=3)).group == group
    assert engine.prepare(edit(1, guidance=0.5)).group != group
    assert engine.prepare(edit(1, steps=3)).group != group


@pytest.mark.parametrize(
    ("drag", "code"),
    [
        (Drag(Point(120, 4), Point(5, 5)), "point_outside_image"),
        (Drag(Point(5, 5), Point(4, -1)), "point_outside_image"),
    ],
)
def test_a_point_outside_is_refused(engine: LightningDragEngine, drag: Drag, code: str) -> None:
    one = edit()
    with pytest.raises(InvalidRequest) as refused:
        engine.run(Edit(one.picture_HWC, one.mask_HW, ((drag,),)), Listener())
    assert [violation.code for violation in refused.value.violations] == [code]


def test_a_picture_with_alpha_keeps_it_and_says_so(engine: LightningDragEngine) -> None:
    one = edit()
    alpha = np.full((90, 120, 1), 128, np.uint8)
    seen = Edit(
        np.concatenate([one.picture_HWC, alpha], axis=2),
        one.mask_HW,
        one.rounds,
        options=one.options,
    )
    outcome = engine.run(seen, Listener())
    assert (outcome.candidates[0].picture_HWC[..., 3] == 128).all()
    assert [warning.code for warning in outcome.warnings] == ["alpha_kept"]


def test_defaults_are_those_of_the_demo(engine: LightningDragEngine) -> None:
    one = edit()
    bare = Edit(one.picture_HWC, one.mask_HW, one.rounds)
    spoken = Edit(
        one.picture_HWC,
        one.mask_HW,
        one.rounds,
        options={"steps": 8, "guidance": 3.0, "guidance_decay": "inv_square"},
    )
    first, second = (engine.run(each, Listener()).candidates[0] for each in (bare, spoken))
    assert np.array_equal(first.picture_HWC, second.picture_HWC)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("no room"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: no room"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling no room"),
    ],
)
def test_too_little_memory_is_told_as_such_and_what_was_made_is_given_up(
    engine: LightningDragEngine, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    made: list[weakref.ref[torch.Tensor]] = []

    def fail(latents_N4hw: torch.Tensor) -> None:
        made.append(weakref.ref(latents_N4hw))
        raise error.with_traceback(None)

    monkeypatch.setattr(engine.pipeline, "decode", fail)
    with pytest.raises(MemoryError, match=r"1 edits at once: .*no room") as lacking:
        engine.run(edit(), Listener())
    assert lacking.value.__context__ is None
    error.__traceback__ = None  # it is this test's own, and would hold the frames by itself
    assert [each() for each in made] == [None]


def test_the_conditioning_is_given_up_before_the_vae_needs_its_room(
    engine: LightningDragEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[weakref.ref[torch.Tensor]] = []
    condition, decode = engine.pipeline.condition, engine.pipeline.decode

    def watched(*given: Any) -> Any:
        made = condition(*given)
        kept.extend(weakref.ref(part) for each in made.values() for part in each)
        return made

    def checked(latents_N4hw: torch.Tensor) -> torch.Tensor:
        assert kept
        assert not any(each() is not None for each in kept)
        return decode(latents_N4hw)

    monkeypatch.setattr(engine.pipeline, "condition", watched)
    monkeypatch.setattr(engine.pipeline, "decode", checked)
    assert engine.run(edit(), Listener()).candidates


def test_the_digest_names_model_scheduler_and_precision_in_80_characters() -> None:
    lcm, ddim = (LightningDragEngine(tiny_model(name)).model_digest for name in ("lcm", "ddim"))
    assert lcm != ddim
    assert lcm.startswith("ld1:lcm:float32:")
    assert max(len(lcm), len(ddim)) <= 80


def test_numbers_out_of_range_fail_the_edit_and_give_no_picture() -> None:
    model = build_model(ModelConfig(CHECKPOINTS, dtype="float16"))
    decoder: Any = model.networks.vae.decoder
    decoder.conv_out.weight.data.fill_(6e4)
    engine = LightningDragEngine(model)
    for outcome in together(engine, [edit(1), edit(2)], [Listener(), Listener()]):
        assert isinstance(outcome, EngineFailed)
        assert "float16" in str(outcome)


def test_one_edit_whose_numbers_leave_the_range_fails_alone(
    engine: LightningDragEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = engine.pipeline.decode

    def spoilt(latents_N4hw: torch.Tensor) -> torch.Tensor:
        images = decode(latents_N4hw)
        images[1, 0, 5, 5] = torch.nan  # a candidate of the first
        return images

    monkeypatch.setattr(engine.pipeline, "decode", spoilt)
    edits = [edit(0, candidates=2), edit(1)]
    failed, whole = together(engine, edits, [Listener(), Listener()])
    assert isinstance(failed, EngineFailed)
    assert isinstance(whole, Outcome)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_the_memory_that_is_kept_for_a_candidate_is_counted_right(guidance: float) -> None:
    model = tiny_model()
    asked = canvas_edit(guidance=guidance)
    pipeline = Pipeline(model)
    with torch.inference_mode():
        batch = gather([asked], model)
        encoded = pipeline.encode(batch)
        hints = pipeline.hint(batch, encoded, pipeline.start(batch, encoded))
        kept = [each[:3] for each in pipeline.condition(batch, hints).values()]
    whole = sum(part.nbytes for parts in kept for part in parts)
    halves = 1 if guidance == 1.0 else 2
    passing = PASSING * halves * (64 // 8) * (128 // 8) * 16 * 4
    assert row_bytes(model, asked.shape) == whole + passing

"""Many edits in one pass: each as if it were alone."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import numpy as np
import torch

from tests.unit.lightningdrag.tiny import canvas_edit, tiny_model
from worker.engines.lightningdrag.batch import CanvasEdit, gather
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.points import Pairs

MAX_ABS, REL = 2e-3, 5e-5  #: of final latents, float32: section 6 of the golden README


@torch.inference_mode()
def final_latents(pipeline: Pipeline, edits: list[CanvasEdit]) -> list[torch.Tensor]:
    batch = gather(edits, pipeline.model)
    encoded = pipeline.encode(batch)
    latents = pipeline.start(batch, encoded)
    conditioning = pipeline.condition(batch, pipeline.hint(batch, encoded, latents))
    *_, last = pipeline.denoise(batch, latents, conditioning)
    return [last.latents_N4hw[batch.rows(number)] for number in range(len(edits))]


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found - wanted).abs().max() <= MAX_ABS
    assert (found - wanted).norm() / wanted.norm() <= REL


EDITS = [canvas_edit(0), canvas_edit(1, candidates=3), canvas_edit(2, candidates=2)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_edit_in_a_batch_is_the_edit_alone_in_any_order(order: tuple[int, ...]) -> None:
    pipeline = Pipeline(tiny_model())
    alone = [final_latents(pipeline, [edit])[0] for edit in EDITS]
    together = final_latents(pipeline, [EDITS[number] for number in order])
    for number, found in zip(order, together, strict=True):
        assert_same(found, alone[number])


@pytest.mark.parametrize("groups", [[[0, 1], [2]], [[0, 2], [1]], [[1, 2], [0]]])
def test_an_edit_in_a_batch_is_the_edit_alone_in_any_grouping(groups: list[list[int]]) -> None:
    pipeline = Pipeline(tiny_model())
    for group in groups:
        together = final_latents(pipeline, [EDITS[number] for number in group])
        for number, found in zip(group, together, strict=True):
            assert_same(found, final_latents(pipeline, [EDITS[number]])[0])


@pytest.mark.parametrize("scheduler", ["lcm", "ddim"])
@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_a_batch_is_its_edits_alone_for_both_schedulers_guided_or_not(
    scheduler: str, guidance: float
) -> None:
    pipeline = Pipeline(tiny_model(scheduler))
    edits = [canvas_edit(number, guidance=guidance) for number in range(3)]
    for edit, found in zip(edits, final_latents(pipeline, edits), strict=True):
        assert_same(found, final_latents(pipeline, [edit])[0])


def test_a_candidate_asked_for_again_by_its_seed_is_the_same() -> None:
    pipeline = Pipeline(tiny_model())
    many = canvas_edit(1, candidates=4)
    (together,) = final_latents(pipeline, [many])
    (again,) = final_latents(pipeline, [canvas_edit(1, seeds=many.seeds[2:3])])
    assert_same(again[0], together[2])


def test_the_same_batch_gives_the_same_bits() -> None:
    pipeline = Pipeline(tiny_model())
    first, second = (final_latents(pipeline, EDITS) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_candidate_is_the_same_to_the_bit_beside_others_in_the_same_batch_shape() -> None:
    pipeline = Pipeline(tiny_model())
    beside_one = final_latents(pipeline, [canvas_edit(0), canvas_edit(1)])[0]
    beside_another = final_latents(pipeline, [canvas_edit(0), canvas_edit(2)])[0]
    assert torch.equal(beside_one, beside_another)


def test_an_edit_that_leaves_between_two_steps_has_no_pictures_and_harms_nobody() -> None:
    pipeline = Pipeline(tiny_model())
    whole = pipeline(EDITS)
    left = pipeline(EDITS, leave=lambda index: [1] if index == 0 else [])
    assert left[1] == []
    for number in (0, 2):
        for found, wanted in zip(left[number], whole[number], strict=True):
            assert np.array_equal(found, wanted)


def test_the_pass_ends_when_nobody_is_left() -> None:
    asked: list[int] = []

    def leave(index: int) -> range:
        asked.append(index)
        return range(3)

    assert Pipeline(tiny_model())(EDITS, leave) == [[], [], []]
    assert asked == [0]


def test_guidance_of_one_or_less_runs_the_half_with_points_alone() -> None:
    pipeline = Pipeline(tiny_model())
    with torch.inference_mode():
        for guidance, halves in ((0.0, 1), (1.0, 1), (1.5, 2)):
            batch = gather([canvas_edit(1, candidates=2, guidance=guidance)], pipeline.model)
            encoded = pipeline.encode(batch)
            latents = pipeline.start(batch, encoded)
            conditioning = pipeline.condition(batch, pipeline.hint(batch, encoded, latents))
            noises = [step.noise_B4hw for step in pipeline.denoise(batch, latents, conditioning)]
            assert {len(noise) for noise in noises} == {2 * halves}


def test_guidance_of_one_is_what_guidance_just_above_one_tends_to() -> None:
    pipeline = Pipeline(tiny_model())
    (one,) = final_latents(pipeline, [canvas_edit(1, guidance=1.0, guidance_decay="none")])
    (above,) = final_latents(pipeline, [canvas_edit(1, guidance=1 + 1e-7, guidance_decay="none")])
    assert_same(one, above)


def test_no_points_and_no_mask_are_legal() -> None:
    nothing = canvas_edit(0, pairs=Pairs((), ()), mask_HW=np.zeros((64, 128), np.bool_))
    assert len(Pipeline(tiny_model())([nothing])[0]) == 1


WRONG = {
    "a multiple of 64": {
        "picture_HWC": np.zeros((64, 72, 3), np.uint8),
        "mask_HW": np.ones((64, 72), np.bool_),
    },
    "outside of the canvas": {"pairs": Pairs(((0, 128),), ((0, 0),))},
    "every handle has one target": {"pairs": Pairs(((0, 0), (1, 1)), ((0, 0),))},
    "1 to 50 steps": {"steps": 51},
    "lcm does 1 to 50 steps, not 0": {"steps": 0},
    "no decay": {"guidance_decay": "cubic"},
    "at least one candidate": {"seeds": ()},
    "a picture": {"picture_HWC": np.zeros((128, 128, 3), np.uint8)},
}


@pytest.mark.parametrize("said", WRONG)
def test_an_edit_that_cannot_be_run_is_refused_before_anything_is(said: str) -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match=said):
        gather([canvas_edit(0, **WRONG[said])], model)


def test_a_negative_point_does_not_wrap_to_the_other_side() -> None:
    with pytest.raises(ValueError, match="outside of the canvas"):
        gather([canvas_edit(0, pairs=Pairs(((-1, 5),), ((0, 0),)))], tiny_model())


def test_edits_of_two_shapes_are_not_one_batch() -> None:
    with pytest.raises(ValueError, match="one shape"):
        gather([canvas_edit(0), canvas_edit(1, steps=4)], tiny_model())

"""The two updates, held against diffusers' own schedulers."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch
from diffusers import DDIMScheduler, LCMScheduler

from tests.golden.extras import SCHEDULER_FILE
from worker.engines.lightningdrag.sampling import make_sampler


def normal(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 2, 5, 25, 50])
def test_ddim_is_diffusers_ddim(steps: int) -> None:
    theirs = DDIMScheduler.from_config(SCHEDULER_FILE)
    theirs.set_timesteps(steps)
    ours = make_sampler("ddim", SCHEDULER_FILE, steps)
    assert ours.timesteps == tuple(theirs.timesteps.tolist())
    assert ours.draws == 0
    wanted = found = normal(0)
    for index, t in enumerate(theirs.timesteps):
        wanted = theirs.step(normal(index + 1), t, wanted).prev_sample
        found = ours.step(index, found, normal(index + 1), None)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_lcm_is_diffusers_lcm_but_for_its_noise(steps: int) -> None:
    theirs = LCMScheduler.from_config(SCHEDULER_FILE)
    theirs.set_timesteps(steps)
    ours = make_sampler("lcm", SCHEDULER_FILE, steps)
    assert ours.timesteps == tuple(theirs.timesteps.tolist())
    assert ours.draws == steps - 1
    wanted = found = normal(0)
    for index, t in enumerate(theirs.timesteps):
        denoised = theirs.step(normal(index + 1), t, wanted).denoised
        noise = normal(100 + index) if index < steps - 1 else None
        wanted = denoised
        if noise is not None:
            wanted = theirs.add_noise(denoised, noise, theirs.timesteps[index + 1])
        found = ours.step(index, found, normal(index + 1), noise)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


def test_the_start_is_at_full_noise_whatever_the_first_step() -> None:
    theirs = DDIMScheduler.from_config(SCHEDULER_FILE)
    ours = make_sampler("ddim", SCHEDULER_FILE, 25)
    assert ours.timesteps[0] == 961
    wanted = theirs.add_noise(normal(0), normal(1), torch.tensor(999))
    torch.testing.assert_close(ours.noised(normal(0), normal(1)), wanted)


@pytest.mark.parametrize(
    ("scheduler", "steps"), [("lcm", 0), ("lcm", 51), ("ddim", 0), ("ddim", 1000)]
)
def test_steps_that_a_scheduler_cannot_do_are_refused(scheduler: str, steps: int) -> None:
    with pytest.raises(ValueError, match="steps"):
        make_sampler(scheduler, SCHEDULER_FILE, steps)


@pytest.mark.parametrize("steps", range(1, 51))
def test_the_grids_are_those_of_the_authors_for_every_number_of_steps(steps: int) -> None:
    lcm, ddim = (make_sampler(name, SCHEDULER_FILE, steps).timesteps for name in ("lcm", "ddim"))
    assert lcm == tuple(999 - 20 * (50 * index // steps) for index in range(steps))
    assert ddim == tuple((steps - 1 - index) * (1000 // steps) + 1 for index in range(steps))


def test_a_scheduler_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="prediction_type is 'v_prediction'"):
        make_sampler("ddim", {**SCHEDULER_FILE, "prediction_type": "v_prediction"}, 5)


def test_the_class_that_the_file_names_does_not_matter() -> None:
    named = {**SCHEDULER_FILE, "_class_name": "DEISMultistepScheduler", "solver_order": 2}
    assert make_sampler("lcm", named, 8) == make_sampler("lcm", SCHEDULER_FILE, 8)

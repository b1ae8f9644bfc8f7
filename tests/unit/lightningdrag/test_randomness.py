"""Every candidate's own draws."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from shared.engines import SEED_MAX
from worker.engines.lightningdrag.randomness import candidate_seed, draw, join, round_seed


def test_candidate_0_has_the_jobs_seed_and_the_others_their_own() -> None:
    seeds = [candidate_seed(42, index) for index in range(8)]
    assert seeds[0] == 42
    assert len(set(seeds)) == 8
    assert all(0 <= seed <= SEED_MAX for seed in seeds)


def test_derived_seeds_stay_what_they_are() -> None:
    assert candidate_seed(42, 1) == 3635933393282093
    assert round_seed(42, 1) == 4191113973657244


def test_a_candidates_draws_do_not_depend_on_who_is_drawn_with_it() -> None:
    alone = draw([7], 3, 4, 6)
    together = draw([1, 7, 2], 3, 4, 6)
    assert torch.equal(together.masked_N4hw[1], alone.masked_N4hw[0])
    assert torch.equal(together.steps_SN4hw[:, 1], alone.steps_SN4hw[:, 0])


def test_draws_come_from_one_generator_in_the_documented_order() -> None:
    generator = torch.Generator("cpu").manual_seed(7)
    drawn = draw([7], 2, 4, 6)
    order = [*drawn[:4], *drawn.steps_SN4hw]
    for found in order:
        assert torch.equal(found[0], torch.randn(4, 4, 6, generator=generator))


def test_nothing_else_is_seeded_or_drawn_from() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    draw([1, 2], 2, 4, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_joined_draws_are_the_edits_one_after_the_other() -> None:
    both = join([draw([1, 2], 2, 4, 4), draw([3], 2, 4, 4)])
    wanted = draw([1, 2, 3], 2, 4, 4)
    assert all(torch.equal(a, b) for a, b in zip(both, wanted, strict=True))


def test_a_round_has_draws_of_its_own_and_the_first_those_of_the_seed() -> None:
    assert round_seed(42, 0) == 42
    assert len({round_seed(42, place) for place in range(8)}) == 8

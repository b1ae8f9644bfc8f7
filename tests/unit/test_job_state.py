"""The table of moves, every pair of it, and the waits between tries."""

from __future__ import annotations

from itertools import product

import pytest

from shared.errors import IllegalTransition
from shared.jobs.moves import SOURCES, TARGET
from shared.jobs.state import (
    FINAL,
    RETRY_TOTAL_S,
    TRANSITIONS,
    JobState,
    Move,
    advance,
    retry_delay_s,
)

DRAWN = {
    ("queued", "claim"): "running",
    ("queued", "cancel"): "canceled",
    ("queued", "fail"): "failed",
    ("queued", "expire"): "expired",
    ("running", "succeed"): "succeeded",
    ("running", "fail"): "failed",
    ("running", "requeue"): "queued",
    ("running", "cancel"): "canceled",
}


@pytest.mark.parametrize(("state", "move"), list(product(JobState, Move)))
def test_a_move_leads_where_the_drawing_says_and_nowhere_when_it_is_not_drawn(
    state: JobState, move: Move
) -> None:
    if (state.value, move.value) in DRAWN:
        assert advance(state, move) == DRAWN[state.value, move.value]
    else:
        with pytest.raises(IllegalTransition, match=f"{move} is no move of a job that is {state}"):
            advance(state, move)


@pytest.mark.parametrize("state", JobState)
def test_a_state_is_final_exactly_when_no_move_leaves_it(state: JobState) -> None:
    leaves = any(source is state for source, _ in TRANSITIONS)
    assert state.is_final == (state in FINAL) == (not leaves)


@pytest.mark.parametrize("move", Move)
def test_the_store_moves_a_job_as_the_table_does_when_it_asks_by_move(move: Move) -> None:
    sources = {literal.name for literal in SOURCES[move]}
    for state in JobState:
        if f"'{state.value}'" in sources:
            assert advance(state, move) is TARGET[move]
        else:
            assert (state, move) not in TRANSITIONS


def test_the_waits_add_up_to_ten_minutes_at_most_when_a_job_is_retried_to_the_end() -> None:
    waits = []
    while (delay_s := retry_delay_s(len(waits))) is not None:
        waits.append(delay_s)
        assert len(waits) < 100
    assert waits[:7] == [2, 4, 8, 16, 32, 60, 60]
    assert RETRY_TOTAL_S - 60 < sum(waits) <= RETRY_TOTAL_S == 600
    assert retry_delay_s(len(waits) + 1000) is None

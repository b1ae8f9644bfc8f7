"""How fast an engine is, read off the jobs that ended last."""

from __future__ import annotations

import random

import pytest

from shared.jobs.forecast import GUESSED_S, Pace, Run, pace_of


def served(arrivals_ms: list[int], servers: int, took_ms: int) -> list[Run]:
    """What becomes of jobs that arrive then, first come first served."""
    free_at = [0] * servers
    runs = []
    for arrived in arrivals_ms:
        n = free_at.index(min(free_at))
        begun = max(arrived, free_at[n])
        free_at[n] = begun + took_ms
        runs.append(Run(arrived, begun, free_at[n]))
    return runs


@pytest.mark.parametrize(("servers", "took_ms"), [(1, 1000), (2, 1000), (16, 250), (3, 40)])
def test_a_pace_is_what_busy_workers_do_when_jobs_came_all_at_once(
    servers: int, took_ms: int
) -> None:
    pace = pace_of(served([0] * 200, servers, took_ms)[-50:], threads=servers)
    assert pace.run_s == pytest.approx(took_ms / 1000)
    assert pace.per_s == pytest.approx(servers * 1000 / took_ms, rel=0.1)
    assert pace.eta_s(0) == pace.run_s
    assert pace.eta_s(100) == pytest.approx(100 * took_ms / servers / 1000 + pace.run_s, rel=0.1)


def test_idle_times_do_not_count_when_bursts_come_now_and_then() -> None:
    arrivals = [burst * 60_000 for burst in range(5) for _ in range(10)]
    pace = pace_of(served(arrivals, servers=2, took_ms=500), threads=2)
    assert pace.per_s == pytest.approx(4, rel=0.25)


def test_jobs_that_share_a_batch_count_each_when_a_batch_runs_eight() -> None:
    """Sixteen threads, but eight edits a second go through the model together."""
    runs = [Run(0, (n // 8) * 1000, (n // 8) * 1000 + 2000) for n in range(80)]
    assert pace_of(runs, threads=16).per_s == pytest.approx(8, rel=0.15)


def test_threads_stand_in_when_nobody_ever_waited() -> None:
    pace = pace_of([Run(n * 5000, n * 5000, n * 5000 + 500) for n in range(20)], threads=4)
    assert pace == Pace(run_s=0.5, per_s=8.0)


def test_a_job_is_guessed_to_take_a_second_when_none_was_measured() -> None:
    assert pace_of([], threads=2) == Pace(run_s=GUESSED_S, per_s=2 / GUESSED_S)


def test_no_end_is_forecast_when_no_worker_is_up() -> None:
    pace = pace_of([], threads=0)
    assert pace.eta_s(3) is None
    assert pace.queue_s(3) == 3 * GUESSED_S


def test_the_order_of_the_runs_does_not_matter() -> None:
    runs = served([0] * 30, servers=2, took_ms=100)
    shuffled = random.Random(1).sample(runs, len(runs))
    assert pace_of(shuffled, threads=2) == pace_of(runs, threads=2)


def test_a_pace_is_finite_when_every_job_took_no_time() -> None:
    pace = pace_of([Run(0, 0, 0)] * 10, threads=1)
    assert pace.eta_s(10) is not None
    assert pace.per_s == 1000


def test_a_time_without_any_worker_does_not_count_though_somebody_waited() -> None:
    before = served([0] * 25, servers=1, took_ms=100)
    after = [Run(0, run.claimed_at + 600_000, run.finished_at + 600_000) for run in before]
    pace = pace_of([*before, *after], threads=1)
    assert pace.per_s == pytest.approx(10, rel=0.1)

"""Forecasts on real databases: measured, kept with a job, compared with what happened."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from shared.db import now_ms
from shared.edits import Priority
from shared.errors import TimedOut
from shared.jobs import forecast
from shared.services import Services
from shared.telemetry.metrics import ETA_ERROR, observe_eta_error
from tests.factories import Factory, a_result, let_pass, row_of


def test_the_pace_is_that_of_the_jobs_that_succeeded(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "KEPT_S", -1.0)
    services.engines_up.seen("worker", "warp", "warp-1", threads=1)
    assert services.forecasts.pace("warp").run_s == forecast.GUESSED_S
    for _ in range(4):
        make.job()
    for _ in range(4):
        job = services.leases.claim_next("warp", "worker")
        assert job is not None
        let_pass(services.database, 4)
        services.leases.succeed(job, a_result(job))
    services.leases.fail(make.running(), TimedOut("over"))
    pace = services.forecasts.pace("warp")
    assert pace.run_s == pytest.approx(4, abs=0.5)
    assert pace.per_s == pytest.approx(1 / 4, rel=0.2)
    assert services.forecasts.pace("other").run_s == forecast.GUESSED_S


def test_what_was_measured_is_used_again_for_a_while(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "KEPT_S", 600.0)
    before = services.forecasts.pace("warp")
    job = make.running()
    let_pass(services.database, 50)
    services.leases.succeed(job, a_result(job))
    assert services.forecasts.pace("warp") is before


def test_the_place_of_a_new_job_is_counted_once_in_a_while_and_up_to_it(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "KEPT_S", 600.0)
    account = make.account()
    image = make.image(account).id
    places = [
        services.forecasts.place(make.job(account, image=image, priority=priority))
        for priority in (Priority.NORMAL, Priority.NORMAL, Priority.LOW, Priority.HIGH)
    ]
    assert places == [0, 1, 2, 0]
    other = make.job()
    assert services.forecasts.place(other) == 1  # accounts take turns
    monkeypatch.setattr(forecast, "KEPT_S", -1.0)
    last = make.job(account, image=image)
    exact = services.jobs.places(account, "warp", [last.id])
    assert services.forecasts.place(last) == exact[last.id] == 4


def test_lines_that_are_out_of_date_are_kept_no_longer_when_there_are_many(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "KEPT_LINES", 3)
    monkeypatch.setattr(forecast, "KEPT_S", -1.0)
    for _ in range(6):
        services.forecasts.place(make.job())
        assert len(services.forecasts._lines) <= 3


def test_one_forecast_in_a_while_is_kept_with_its_job_and_compared_when_it_ends(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "KEPT_S", 600.0)
    first, second = make.job(), make.job()
    with services.database.reading() as connection:
        now = connection.scalar(select(now_ms())) or 0
    services.forecasts.note("warp", first.id, now - 5000)
    services.forecasts.note("warp", second.id, now - 5000)
    assert row_of(services.database, first.id)["forecast_at"] == now - 5000
    assert row_of(services.database, second.id)["forecast_at"] is None
    claimed = [services.leases.claim_next("warp", "worker") for _ in range(2)]
    late = {job.id: job.late_s for job in claimed if job}
    assert late[first.id] == pytest.approx(5, abs=1)
    assert late[second.id] is None


def test_no_forecast_is_noted_when_the_job_has_ended(services: Services, make: Factory) -> None:
    job = make.job()
    services.jobs.cancel(job.account_id, job.id)
    services.forecasts.note("warp", job.id, 1)
    assert row_of(services.database, job.id)["forecast_at"] is None


def test_an_error_of_a_forecast_counts_by_its_direction() -> None:
    def counts() -> dict[str, float]:
        samples = [sample for metric in ETA_ERROR.collect() for sample in metric.samples]
        return {
            sample.labels["direction"]: sample.value
            for sample in samples
            if sample.name.endswith("_sum") and sample.labels["engine"] == "measured"
        }

    observe_eta_error("measured", 1.5)
    observe_eta_error("measured", -0.5)
    assert counts() == {"late": 1.5, "early": 0.5}

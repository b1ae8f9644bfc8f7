"""A job whose pictures are in S3, when the storage fails: it waits, and never lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.imaging import decode
from shared.jobs.job import Job
from shared.jobs.state import JobState
from shared.services import Services
from tests.engines import ActingEngine
from tests.factories import Factory, history, let_pass
from tests.servers.s3_proxy import (
    Behaviour,
    S3Proxy,
    altered,
    broken,
    cut_short,
    done_but_hung_up,
    hung_up,
    late,
    overloaded,
)
from worker.claims import Claims
from worker.run_job import Workplace, run_next_job
from worker.solo import Solo
from worker.watch import Drain, Heart

pytestmark = pytest.mark.slow

REQUESTS = 3  #: of a job: its picture, its result, its mask


@pytest.fixture
def services(build: Callable[..., Services], s3: dict[str, Any], proxy: S3Proxy) -> Services:
    return build(**s3 | {"s3_url": proxy.url, "s3_timeout_s": 1.5})


@pytest.fixture
def run(services: Services) -> Callable[[], bool]:
    settings = services.settings
    heart = Heart(
        services.leases, Drain(), lease_s=settings.lease_s, heartbeat_s=settings.heartbeat_s
    )
    at = Workplace(
        services, {"warp": ActingEngine()}, heart, Solo(), Claims(services.leases, "worker-1")
    )
    return lambda: run_next_job("warp", at)


def assert_whole(services: Services, job: Job) -> None:
    """A job that has succeeded has pictures that can be read."""
    ended = services.jobs.get(job.account_id, job.id)
    assert ended.status is JobState.SUCCEEDED
    assert ended.result is not None
    for key in (ended.result["candidates"][0]["key"], ended.result["mask_key"]):
        assert decode(services.objects.get(key)).width == 64


@pytest.mark.parametrize("request_number", range(REQUESTS))
@pytest.mark.parametrize("failure", [overloaded, late, done_but_hung_up])
def test_a_job_succeeds_at_once_when_the_storage_fails_for_a_moment(
    services: Services,
    make: Factory,
    run: Callable[[], bool],
    proxy: S3Proxy,
    failure: Behaviour,
    request_number: int,
) -> None:
    job = make.job(is_stored=True)
    proxy.behave(*[lambda exchange: exchange.forward()] * request_number, failure)
    run()
    assert len(proxy.requests) == REQUESTS + 1
    assert_whole(services, job)
    assert history(services.database, job.id) == ["queued", "running", "succeeded"]


@pytest.mark.parametrize("request_number", range(REQUESTS))
@pytest.mark.parametrize("failure", [overloaded, broken, late, hung_up])
def test_a_job_waits_for_another_try_and_has_no_result_when_the_storage_fails_for_long(
    services: Services,
    make: Factory,
    run: Callable[[], bool],
    proxy: S3Proxy,
    failure: Behaviour,
    request_number: int,
) -> None:
    job = make.job(is_stored=True)
    proxy.behave(*[lambda exchange: exchange.forward()] * request_number, always=failure)
    run()
    waiting = services.jobs.get(job.account_id, job.id)
    assert (waiting.status, waiting.retries, waiting.losses) == (JobState.QUEUED, 1, 0)
    assert waiting.result is None
    proxy.behave()
    let_pass(services.database, 3)
    run()
    assert_whole(services, job)
    assert history(services.database, job.id) == [*["queued", "running"] * 2, "succeeded"]


def test_a_job_waits_when_the_answer_breaks_off_or_its_bytes_change_on_their_way(
    services: Services, make: Factory, run: Callable[[], bool], proxy: S3Proxy
) -> None:
    for failure in (cut_short, altered):
        job = make.job(is_stored=True)
        proxy.behave(always=failure)
        run()
        waiting = services.jobs.get(job.account_id, job.id)
        assert (waiting.status, waiting.result) == (JobState.QUEUED, None)
        proxy.behave()
        let_pass(services.database, 3)
        run()
        assert_whole(services, job)


def test_a_job_fails_with_an_honest_code_when_the_storage_is_away_until_its_time_is_over(
    services: Services, make: Factory, run: Callable[[], bool], proxy: S3Proxy
) -> None:
    job = make.job(is_stored=True, timeout_s=1)
    proxy.behave(always=hung_up)
    run()
    ended = services.jobs.get(job.account_id, job.id)
    assert (ended.status, ended.result) == (JobState.FAILED, None)
    assert ended.error is not None
    assert ended.error["code"] == "storage_unavailable"

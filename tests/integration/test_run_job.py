"""One job from claim to outcome, in this process: what each kind of end leaves behind."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from shared.edits import MaskImage, MaskPolygon, MaskRect, Point
from shared.errors import DatabaseUnavailable, StorageUnavailable
from shared.imaging import decode, decode_mask
from shared.jobs.job import Job
from shared.jobs.leases import LeaseStore, Pulse
from shared.jobs.state import JobState
from shared.masks import around_drags, from_polygon, from_rect
from shared.objects import FolderStore
from shared.services import Services
from tests.crowd import in_threads
from tests.engines import ActingEngine
from tests.factories import Factory, a_picture, history, let_pass
from worker.claims import Claims
from worker.run_job import Workplace, run_next_job
from worker.run_job import run as run_claimed
from worker.solo import Solo
from worker.watch import Drain, Heart


def a_workplace(services: Services, drain: Drain | None = None) -> Workplace:
    settings = services.settings
    heart = Heart(
        services.leases,
        drain or Drain(),
        lease_s=settings.lease_s,
        heartbeat_s=settings.heartbeat_s,
    )
    return Workplace(
        services, {"warp": ActingEngine()}, heart, Solo(), Claims(services.leases, "worker-1")
    )


@pytest.fixture
def run(services: Services) -> Callable[[], bool]:
    at = a_workplace(services)
    return lambda: run_next_job("warp", at)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


def _ended(services: Services, job: Job) -> Job:
    return services.jobs.get(job.account_id, job.id)


def _stored(services: Services) -> list[str]:
    folder = services.settings.objects_folder
    return sorted(str(p.relative_to(folder)) for p in (folder / "results").rglob("*.*"))


def test_nothing_happens_when_no_job_is_due(run: Callable[[], bool]) -> None:
    assert run() is False


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_every_candidate_is_stored_and_described_when_a_job_succeeds(
    services: Services, make: Factory, run: Callable[[], bool], form: str
) -> None:
    job = make.job(is_stored=True, options={"format": form, "candidates": 2, "seed": 7})
    assert run() is True
    ended = _ended(services, job)
    assert ended.status is JobState.SUCCEEDED
    assert ended.result is not None
    names = [f"results/{job.account_id}/{job.id}/1/{index}.{form}" for index in range(2)]
    assert [candidate["key"] for candidate in ended.result["candidates"]] == names
    for index, candidate in enumerate(ended.result["candidates"]):
        data = services.objects.get(candidate["key"])
        assert candidate["sha256"] == hashlib.sha256(data).hexdigest()
        assert (candidate["width"], candidate["height"]) == (64, 48)
        assert (candidate["index"], candidate["seed"]) == (index, 7 + index)
        assert decode(data).width == 64
    assert ended.result["warnings"] == [{"code": "acted", "detail": "copy"}]
    assert ended.result["model_digest"] == "acting-1"
    assert set(ended.result["timings"]) == {
        "queued_ms", "fetch_ms", "run_ms", "store_ms", "total_ms"
    }  # fmt: skip
    assert set(_stored(services)) == set(ended.object_keys) == {*names, ended.result["mask_key"]}


def test_the_mask_that_was_made_is_stored_and_none_when_the_caller_gave_one(
    services: Services, make: Factory, run: Callable[[], bool]
) -> None:
    job = make.job(is_stored=True)
    run()
    result = _ended(services, job).result
    assert result is not None
    mask_HW = decode_mask(services.objects.get(result["mask_key"]))
    assert (mask_HW == around_drags(job.spec.rounds, 64, 48)).all()
    given = make.job(is_stored=True, mask=MaskRect(0, 0, 40, 40))
    run()
    result = _ended(services, given).result
    assert result is not None
    assert result["mask_key"] is None


def test_the_engine_gets_the_mask_that_was_asked_for(services: Services, make: Factory) -> None:
    seen = []

    class Looking(ActingEngine):
        def run(self, edit: Any, watch: Any) -> Any:
            seen.append(edit)
            return super().run(edit, watch)

    at = replace(a_workplace(services), engines={"warp": Looking()})
    rect = MaskRect(1, 2, 30, 40)
    polygon = MaskPolygon((Point(0, 0), Point(60, 0), Point(30, 40)))
    account = make.account()
    uploaded = make.image(account, is_stored=True)
    for mask in (rect, polygon, MaskImage(uploaded.id)):
        make.job(account, is_stored=True, mask=mask)
        run_next_job("warp", at)
    assert (seen[0].mask_HW == from_rect(rect, 64, 48)).all()
    assert (seen[1].mask_HW == from_polygon(polygon, 64, 48)).all()
    data = services.objects.get(uploaded.object_key or "")
    assert (seen[2].mask_HW == decode_mask(data)).all()


@pytest.mark.parametrize(
    ("act", "status", "code"),
    [("refuse", "failed", "drag_not_reachable"), ("break", "failed", "engine_failed"),
     ("lose_storage", "queued", None)],
)  # fmt: skip
def test_a_job_ends_or_waits_as_its_error_says(
    services: Services,
    make: Factory,
    run: Callable[[], bool],
    act: str,
    status: str,
    code: str | None,
) -> None:
    job = make.job(is_stored=True, options={"act": act})
    assert run() is True
    ended = _ended(services, job)
    assert ended.status == status
    assert (ended.error or {}).get("code") == code
    assert ended.losses == 0
    assert _stored(services) == []


def test_a_caller_does_not_see_the_text_of_an_error_that_nobody_foresaw(
    services: Services, make: Factory, run: Callable[[], bool], logged: list[Any]
) -> None:
    job = make.job(is_stored=True, options={"act": "break"})
    run()
    error = _ended(services, job).error
    assert error is not None
    assert "secret" not in error["message"]
    (event,) = [event for event in logged if event["event"] == "engine_failed"]
    assert event["exc_info"]


def test_a_job_waits_for_another_try_when_its_picture_is_not_in_storage(
    services: Services, make: Factory, run: Callable[[], bool]
) -> None:
    job = make.job(is_stored=False)
    run()
    waiting = _ended(services, job)
    assert (waiting.status, waiting.retries) == (JobState.QUEUED, 1)


def test_a_job_fails_with_the_pictures_own_code_when_its_bytes_cannot_be_read(
    services: Services, make: Factory, run: Callable[[], bool]
) -> None:
    account = make.account()
    image = make.image(account)
    services.objects.put(image.object_key or "", a_picture()[:200])
    job = make.job(account, image=image.id)
    run()
    error = _ended(services, job).error
    assert error is not None
    assert error["code"] == "image_unreadable"


class HalfBrokenStore(FolderStore):
    """Takes no masks."""

    def put(self, key: str, data: bytes) -> None:
        if key.endswith("mask.png"):
            raise StorageUnavailable("full")
        super().put(key, data)


def test_a_job_is_tried_again_when_the_storage_takes_half_of_its_result(
    services: Services, make: Factory, run: Callable[[], bool]
) -> None:
    job = make.job(is_stored=True)
    broken = replace(services, objects=HalfBrokenStore(services.settings.objects_folder))
    run_next_job("warp", a_workplace(broken))
    waiting = _ended(services, job)
    assert (waiting.status, waiting.retries, waiting.result) == (JobState.QUEUED, 1, None)
    let_pass(services.database, 3)
    run()
    ended = _ended(services, job)
    assert ended.status is JobState.SUCCEEDED
    services.jobs.delete(job.account_id, job.id)
    for key in ended.object_keys:
        services.objects.delete(key)
    assert _stored(services) == []  # what the first attempt left behind is gone too


class ForgetfulLeases(LeaseStore):
    """The database is away from when an outcome should be written on."""

    is_away = False

    def heartbeat(self, job: Job, step: int, steps: int | None) -> Pulse:
        if self.is_away:
            raise DatabaseUnavailable("away")
        return super().heartbeat(job, step, steps)

    def succeed(self, job: Job, result: dict[str, Any], steps: int | None = None) -> bool:
        self.is_away = True
        raise DatabaseUnavailable("away")


def test_pictures_are_kept_when_nobody_knows_whether_their_row_was_written(
    build: Callable[..., Services], logged: list[Any]
) -> None:
    services = build(lease_s=1, heartbeat_s=0.2)
    job = Factory(services).job(is_stored=True)
    leases = ForgetfulLeases(services.database, lease_s=1, result_retention_days=1)
    begun_s = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        run_next_job("warp", a_workplace(replace(services, leases=leases)))
    assert time.monotonic() - begun_s >= 0.9  # it was tried for as long as the lease lasted
    assert len([event for event in logged if event["event"] == "outcome_waits"]) >= 3
    assert len(_stored(services)) == 2
    assert _ended(services, job).status is JobState.RUNNING  # until the sweep takes it back


def test_no_job_is_claimed_when_the_worker_drains(services: Services, make: Factory) -> None:
    job = make.job(is_stored=True)
    drain = Drain()
    drain.begin(60)
    assert not run_next_job("warp", a_workplace(services, drain))
    assert history(services.database, job.id) == ["queued"]


def test_a_job_is_given_back_before_it_is_run_when_the_worker_drains(
    services: Services, make: Factory
) -> None:
    job = make.running(is_stored=True)
    drain = Drain()
    drain.begin(0)
    run_claimed(job, a_workplace(services, drain))
    back = _ended(services, job)
    assert (back.status, back.attempt, back.losses) == (JobState.QUEUED, 1, 0)
    assert history(services.database, job.id) == ["queued", "running", "queued"]


def test_every_job_succeeds_once_when_several_threads_of_one_worker_run_them(
    services: Services, make: Factory, tmp_path: Path
) -> None:
    at = a_workplace(services)
    account = make.account()
    image = make.image(account, is_stored=True).id
    jobs = [make.job(account, image=image) for _ in range(12)]

    def work() -> int:
        count = 0
        while run_next_job("warp", at):
            count += 1
        return count

    assert sum(in_threads(work, [()] * 4)) == 12
    for job in jobs:
        assert history(services.database, job.id) == ["queued", "running", "succeeded"]

"""What the sweep does to jobs, on a real database: losses, limits, retention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import update

from shared.edits import MaskImage
from shared.errors import ImageInUse, NotFound, StorageUnavailable, TimedOut
from shared.jobs.state import JobState
from shared.jobs.tables import jobs
from shared.objects import FolderStore
from shared.services import Services
from tests.factories import Factory, a_result, a_spec, history, let_pass, row_of
from worker.pictures import discard_result
from worker.sweep import sweep

LEASE_S = 600
RETENTION_S, JOB_RETENTION_S = 30 * 86_400, 90 * 86_400


def test_a_lease_that_still_holds_is_left_alone(services: Services, make: Factory) -> None:
    job = make.running()
    let_pass(services.database, LEASE_S - 5)
    assert services.upkeep.take_back_expired_leases() == []
    assert services.jobs.get(job.account_id, job.id).status is JobState.RUNNING


def test_a_job_is_quarantined_when_it_has_lost_its_third_lease(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=86_400)
    for losses in (1, 2):
        let_pass(services.database, LEASE_S + 1)
        (back,) = services.upkeep.take_back_expired_leases()
        assert (back.status, back.losses) == (JobState.QUEUED, losses)
        assert row_of(services.database, job.id)["worker_id"] is None
        again = services.leases.claim_next("warp", "worker")
        assert again is not None
        assert (again.attempt, again.losses) == (losses + 1, losses)
    let_pass(services.database, LEASE_S + 1)
    (ended,) = services.upkeep.take_back_expired_leases()
    assert (ended.status, ended.losses) == (JobState.FAILED, 3)
    assert ended.error is not None
    assert (ended.error["code"], ended.error["retryable"]) == ("worker_lost", False)
    assert ended.retain_until is not None
    assert services.upkeep.take_back_expired_leases() == []
    states = ["queued", "running"] * 3
    assert history(services.database, job.id) == [*states, "failed"]


def test_a_job_that_nobody_can_read_holds_up_no_other(services: Services, make: Factory) -> None:
    first, strange, last = (make.running() for _ in range(3))
    with services.database.writing() as connection:
        newer = update(jobs).where(jobs.c.id == strange.id).values(spec={"form": "of tomorrow"})
        connection.execute(newer)
    let_pass(services.database, LEASE_S + 1)
    back = services.upkeep.take_back_expired_leases()
    assert {job.id for job in back} == {first.id, last.id}
    assert row_of(services.database, strange.id)["status"] == "running"
    assert services.upkeep.take_back_expired_leases() == []


def test_a_job_is_canceled_when_its_owner_asked_and_its_lease_is_lost(
    services: Services, make: Factory
) -> None:
    job = make.running()
    services.jobs.cancel(job.account_id, job.id)
    let_pass(services.database, LEASE_S + 1)
    (ended,) = services.upkeep.take_back_expired_leases()
    assert ended.status is JobState.CANCELED
    assert ended.retain_until is not None
    assert history(services.database, job.id) == ["queued", "running", "canceled"]


def test_a_job_expires_when_nobody_started_it_in_time(services: Services, make: Factory) -> None:
    late, patient = make.job(expires_in_s=10), make.job()
    let_pass(services.database, 9)
    assert services.upkeep.expire_waiting() == []
    let_pass(services.database, 2)
    assert services.upkeep.due_by_engine() == {"warp": 1}
    (expired,) = services.upkeep.expire_waiting()
    assert (expired.id, expired.status) == (late.id, JobState.EXPIRED)
    assert expired.retain_until is not None
    assert services.jobs.get(patient.account_id, patient.id).status is JobState.QUEUED


def test_a_job_is_not_claimed_when_it_expired_and_no_sweep_came_yet(
    services: Services, make: Factory
) -> None:
    make.job(expires_in_s=10)
    let_pass(services.database, 11)
    assert services.leases.claim_next("warp", "worker") is None


def test_a_job_is_failed_when_its_deadline_passes_while_it_waits_again(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=5)
    services.leases.give_back(job)
    let_pass(services.database, 6)
    assert services.leases.claim_next("warp", "worker") is None
    (ended,) = services.upkeep.fail_overdue()
    assert ended.status is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "timeout"


def test_one_sweep_ends_a_job_when_its_worker_died_and_its_deadline_passed(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=60)
    let_pass(services.database, LEASE_S + 1)
    sweep(services)
    ended = services.jobs.get(job.account_id, job.id)
    assert ended.status is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "timeout"


def _canceled_while_queued(services: Services, make: Factory) -> str:
    job = make.job()
    return services.jobs.cancel(job.account_id, job.id).id


def _succeeded(services: Services, make: Factory) -> str:
    job = make.running()
    services.leases.succeed(job, a_result(job))
    return job.id


def _failed(services: Services, make: Factory) -> str:
    job = make.running()
    services.leases.fail(job, TimedOut("over"))
    return job.id


def _canceled_while_running(services: Services, make: Factory) -> str:
    job = make.running()
    services.leases.cancel(job)
    return job.id


def _expired(services: Services, make: Factory) -> str:
    job = make.job(expires_in_s=1)
    let_pass(services.database, 2)
    services.upkeep.expire_waiting()
    return job.id


def _quarantined(services: Services, make: Factory) -> str:
    job = make.job(timeout_s=86_400)
    for _ in range(3):
        services.leases.claim_next("warp", "worker")
        let_pass(services.database, LEASE_S + 1)
        services.upkeep.take_back_expired_leases()
    return job.id


@pytest.mark.parametrize(
    "end",
    [_canceled_while_queued, _succeeded, _failed, _canceled_while_running, _expired, _quarantined],
)
def test_a_job_is_forgotten_after_its_retention_however_it_ended(
    services: Services, make: Factory, end: Callable[[Services, Factory], str]
) -> None:
    job_id = end(services, make)
    assert row_of(services.database, job_id)["finished_at"] is not None
    let_pass(services.database, RETENTION_S - 60)
    assert services.upkeep.results_past_retention() == []
    let_pass(services.database, 61)
    assert [job.id for job in services.upkeep.results_past_retention()] == [job_id]
    sweep(services)
    assert services.upkeep.results_past_retention() == []
    let_pass(services.database, JOB_RETENTION_S - RETENTION_S - 60)
    assert services.upkeep.jobs_past_retention() == []
    let_pass(services.database, 61)
    assert [job.id for job in services.upkeep.jobs_past_retention()] == [job_id]
    sweep(services)
    assert services.upkeep.jobs_past_retention() == []
    with services.database.reading() as connection:
        for table in ("jobs", "job_events"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0  # noqa: S608


def test_every_picture_goes_with_its_job_even_those_of_attempts_that_died(
    services: Services, make: Factory
) -> None:
    first = make.running(timeout_s=86_400)
    orphan = a_result(first)["candidates"][0]["key"]
    services.objects.put(orphan, b"stored before the worker died")
    let_pass(services.database, LEASE_S + 1)
    services.upkeep.take_back_expired_leases()
    second = services.leases.claim_next("warp", "worker")
    assert second is not None
    result = {**a_result(second), "mask_key": orphan.replace("/1/0.png", "/2/mask.png")}
    recorded = result["candidates"][0]["key"]
    for key in (recorded, result["mask_key"]):
        services.objects.put(key, b"picture")
    assert services.leases.succeed(second, result)
    ended = services.jobs.get(second.account_id, second.id)
    assert {orphan, recorded, result["mask_key"]} <= set(ended.object_keys)
    let_pass(services.database, RETENTION_S + 1)
    sweep(services)
    for key in (orphan, recorded, result["mask_key"]):
        with pytest.raises(NotFound):
            services.objects.get(key)
    kept = services.jobs.get(second.account_id, second.id)
    assert (kept.status, kept.result) == (JobState.SUCCEEDED, ended.result)
    assert kept.pictures_gone_at is not None


def test_pictures_and_row_go_together_when_both_are_past_their_retention(
    build: Callable[..., Services],
) -> None:
    services = build(result_retention_days=1, job_retention_days=1)
    job = Factory(services).running()
    result = a_result(job)
    key = result["candidates"][0]["key"]
    services.objects.put(key, b"picture")
    assert services.leases.succeed(job, result)
    let_pass(services.database, 86_401)
    sweep(services)
    for gone in (
        lambda: services.jobs.get(job.account_id, job.id),
        lambda: services.objects.get(key),
    ):
        with pytest.raises(NotFound):
            gone()
    services.upkeep.say_that_pictures_are_gone(job)  # another sweep, a moment later


class Stubborn(FolderStore):
    """One object cannot be deleted."""

    key = ""

    def delete(self, key: str) -> None:
        if key == self.key:
            raise StorageUnavailable("away")
        super().delete(key)


def test_pictures_that_cannot_be_deleted_hold_up_no_others_and_no_url_leads_to_them(
    services: Services, make: Factory
) -> None:
    objects = Stubborn(services.settings.objects_folder)
    services = replace(services, objects=objects)
    done = []
    for _ in range(2):
        job = make.running()
        result = a_result(job)
        key = result["candidates"][0]["key"]
        objects.put(key, b"picture")
        assert services.leases.succeed(job, result)
        done.append((job, key))
    (first, objects.key), (second, going) = done
    let_pass(services.database, RETENTION_S + 1)
    sweep(services)
    assert services.upkeep.results_past_retention() == []
    for job in (first, second):
        assert services.jobs.get(job.account_id, job.id).pictures_gone_at is not None
    assert objects.get(objects.key) == b"picture"  # the collector takes it later
    with pytest.raises(NotFound):
        objects.get(going)


def test_a_job_whose_owner_asked_is_canceled_when_its_deadline_passes_in_a_hanging_engine(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=10)
    services.jobs.cancel(job.account_id, job.id)
    let_pass(services.database, 10 + LEASE_S + 1)
    (ended,) = services.upkeep.fail_overdue()
    assert ended.status is JobState.CANCELED


def test_an_image_stays_when_an_active_job_needs_it_and_goes_when_none_does(
    services: Services, make: Factory
) -> None:
    account = make.account()
    picture, mask = (make.image(account, is_stored=True) for _ in range(2))
    unused = make.image(account, is_stored=True)
    job = services.jobs.submit(account, a_spec(picture.id, mask=MaskImage(mask.id)), {})
    for image in (picture, mask):
        with pytest.raises(ImageInUse):
            services.images.delete(account, image.id)
    let_pass(services.database, RETENTION_S + 1)
    sweep(services)
    with pytest.raises(NotFound):
        services.images.get(account, unused.id)
    with pytest.raises(NotFound):
        services.objects.get(unused.object_key or "")
    for image in (picture, mask):
        assert services.objects.get(image.object_key or "")
    services.jobs.cancel(account, job.id)
    sweep(services)
    for image in (picture, mask):
        with pytest.raises(NotFound):
            services.images.get(account, image.id)
        with pytest.raises(NotFound):
            services.objects.get(image.object_key or "")


def test_a_staged_upload_goes_when_it_was_never_completed(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image, _ = services.images.announce(
        account, sha256="a" * 64, content_type="image/png", size_bytes=3
    )
    key = f"staging/{account}/{image.id}"
    services.objects.put(key, b"png")
    let_pass(services.database, RETENTION_S + 1)
    sweep(services)
    with pytest.raises(NotFound):
        services.objects.get(key)


def test_the_other_steps_of_a_sweep_are_made_when_one_meets_an_error_nobody_foresaw(
    services: Services, make: Factory
) -> None:
    lost, late = make.running(), make.job(expires_in_s=1)
    let_pass(services.database, LEASE_S + 1)
    with services.database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == lost.id).values(spec={}))
    sweep(services)
    assert row_of(services.database, late.id)["status"] == "expired"


def test_what_a_worker_stored_goes_when_its_lease_was_lost(
    services: Services, make: Factory
) -> None:
    job = make.running()
    result = {**a_result(job, "0.png", "1.png"), "mask_key": None}
    for candidate in result["candidates"]:
        services.objects.put(candidate["key"], b"picture")
    discard_result(result, services)
    for candidate in result["candidates"]:
        with pytest.raises(NotFound):
            services.objects.get(candidate["key"])


def test_a_running_job_fails_when_its_engine_hangs_long_past_its_deadline(
    services: Services, make: Factory
) -> None:
    job = make.running(timeout_s=60)
    let_pass(services.database, 61)
    assert services.upkeep.fail_overdue() == []  # its engine may still stop it by itself
    let_pass(services.database, services.settings.lease_s)
    assert [failed.id for failed in services.upkeep.fail_overdue()] == [job.id]
    row = row_of(services.database, job.id)
    assert (row["status"], row["error"]["code"]) == ("failed", "timeout")
    assert not services.leases.succeed(job, a_result(job))


def test_a_job_does_not_expire_when_it_was_started_in_time_and_given_back(
    services: Services, make: Factory
) -> None:
    job = make.running(expires_in_s=60)
    assert services.leases.give_back(job)
    let_pass(services.database, 61)
    assert services.upkeep.expire_waiting() == []
    assert services.leases.claim_next("warp", "worker") is not None

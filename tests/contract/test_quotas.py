"""Limits of an account: exact when many ask at once, and free for those who have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from shared.accounts.tables import account_usage
from shared.accounts.usage import (
    STORED_BYTES,
    add_usage,
    pixels_of_month,
    seconds_of_month_left,
    used,
)
from shared.errors import (
    DragNotReachable,
    LimitExceeded,
    PixelsSpent,
    StorageFull,
    StorageUnavailable,
    TooManyQueued,
)
from shared.images.store import Facts
from shared.images.tables import images
from shared.jobs.tables import jobs
from shared.services import Services
from tests.crowd import in_threads
from tests.factories import Factory, a_result, a_spec, let_pass

JOB_PX = 64 * 48  #: of a job of the factory


def limited(services: Services, make: Factory, **limits: int) -> str:
    """A new account with limits of its own."""
    account_id = make.account()
    services.accounts.set_limits(services.accounts.get(account_id).name, limits)
    return account_id


def usage_of(services: Services, account_id: str) -> dict[str, int]:
    return asdict(services.accounts.usage(account_id))


def outcomes(call: Callable[..., object], arguments: list[tuple[object, ...]]) -> list[str]:
    """What each of many simultaneous calls met: `taken`, or the code it was refused with."""

    def attempt(*given: object) -> str:
        try:
            call(*given)
        except LimitExceeded as error:
            return error.code
        return "taken"

    return in_threads(attempt, arguments)


def submit(services: Services, account_id: str, image_id: str) -> None:
    services.jobs.submit(account_id, a_spec(image=image_id), {})


def test_as_many_jobs_are_queued_as_may_when_more_are_submitted_at_once(
    services: Services, make: Factory
) -> None:
    account_id = limited(services, make, queued_jobs=5)
    image = make.image(account_id).id
    met = outcomes(submit, [(services, account_id, image)] * 12)
    assert sorted(met) == ["taken"] * 5 + ["too_many_queued_jobs"] * 7
    assert usage_of(services, account_id)["queued_jobs"] == 5
    assert services.leases.claim_next("warp", "worker") is not None
    submit(services, account_id, image)
    with pytest.raises(TooManyQueued) as caught:
        submit(services, account_id, image)
    assert caught.value.retry_after_s >= 1
    make.job()  # another account's is nobody's limit


def test_as_many_pixels_are_spent_as_may_when_more_are_asked_for_at_once(
    services: Services, make: Factory
) -> None:
    account_id = limited(services, make, pixels_per_month=4 * JOB_PX + JOB_PX // 2)
    image = make.image(account_id).id
    met = outcomes(submit, [(services, account_id, image)] * 9)
    assert sorted(met) == ["pixel_quota_exceeded"] * 5 + ["taken"] * 4
    assert usage_of(services, account_id)["pixels_per_month"] == 4 * JOB_PX
    with pytest.raises(PixelsSpent) as caught:
        submit(services, account_id, image)
    assert 1 <= caught.value.retry_after_s <= 31 * 86_400 + 1


def test_as_many_bytes_are_stored_as_may_when_more_are_uploaded_at_once(
    services: Services, make: Factory
) -> None:
    account_id = limited(services, make, stored_bytes=1000)

    def upload(number: int) -> None:
        facts = Facts(f"{number:064x}", "image/png", 300, 64, 48, False)
        services.images.add(account_id, f"img_{number:032x}", f"images/{number}", facts)

    met = outcomes(upload, [(number,) for number in range(8)])
    assert sorted(met) == ["storage_quota_exceeded"] * 5 + ["taken"] * 3
    assert usage_of(services, account_id)["stored_bytes"] == 900
    announced = {"content_type": "image/png", "size_bytes": 101, "sha256": "f" * 64}
    with pytest.raises(StorageFull):
        services.images.announce(account_id, **announced)
    services.images.announce(account_id, **{**announced, "size_bytes": 100})
    with pytest.raises(StorageFull):
        services.images.require_room(account_id, 1)
    with services.database.reading() as connection:
        image_id = connection.scalar(select(images.c.id).where(images.c.size_bytes == 300))
    with pytest.raises(StorageFull):  # its result would not fit
        submit(services, account_id, str(image_id))


def test_bytes_are_counted_once_when_an_upload_is_announced_and_then_comes(
    services: Services, make: Factory
) -> None:
    account_id = limited(services, make, stored_bytes=500)
    sha256 = "a" * 64
    for size_bytes in (400, 450, 300):
        image, _ = services.images.announce(
            account_id, content_type="image/png", size_bytes=size_bytes, sha256=sha256
        )
        assert usage_of(services, account_id)["stored_bytes"] == size_bytes
    facts = Facts(sha256, "image/png", 350, 64, 48, False)
    for _ in range(2):
        services.images.add(account_id, image.id, "images/x", facts)
        assert usage_of(services, account_id)["stored_bytes"] == 350
    services.images.announce(account_id, content_type="image/png", size_bytes=350, sha256=sha256)
    assert usage_of(services, account_id)["stored_bytes"] == 350
    services.images.delete(account_id, image.id)
    assert usage_of(services, account_id)["stored_bytes"] == 0


def test_no_more_jobs_run_than_may_when_many_workers_claim_at_once(
    services: Services, make: Factory
) -> None:
    account_id = limited(services, make, running_jobs=3)
    image = make.image(account_id).id
    for engine in ("warp", "lightningdrag"):
        for _ in range(6):
            make.job(account_id, image=image, engine=engine)
    engines = [("warp", "w"), ("lightningdrag", "w")] * 6
    claimed = [job for job in in_threads(services.leases.claim_next, engines) if job]
    while len(claimed) < 3 and (job := services.leases.claim_next("warp", "w")):
        claimed.append(job)
    assert len(claimed) == 3
    assert usage_of(services, account_id)["running_jobs"] == 3
    for engine in ("warp", "lightningdrag"):
        assert services.leases.claim_next(engine, "w") is None


def test_the_others_are_served_and_the_next_one_starts_when_an_account_is_full(
    services: Services, make: Factory
) -> None:
    full, other = limited(services, make, running_jobs=1), make.account()
    image, others = make.image(full).id, make.image(other).id
    mine = [make.job(full, image=image).id for _ in range(3)]
    theirs = [make.job(other, image=others).id for _ in range(3)]
    order = [services.leases.claim_next("warp", "w") for _ in range(4)]
    ids = [job.id for job in order if job]
    assert sorted(ids) == sorted([mine[0], *theirs])
    assert services.leases.claim_next("warp", "w") is None
    for expected in mine[1:]:
        (running,) = [job for job in order if job and job.account_id == full]
        services.leases.succeed(running, a_result(running))
        order = [services.leases.claim_next("warp", "w")]
        assert [job.id for job in order if job] == [expected]


def test_the_settings_limit_holds_for_accounts_without_one_and_none_for_those_freed_of_it(
    build: Callable[..., Services],
) -> None:
    services = build(limit_running_jobs=1)
    make = Factory(services)
    free = limited(services, make, running_jobs=0)
    bound = make.account()
    for account_id in (free, bound):
        image = make.image(account_id).id
        for _ in range(3):
            make.job(account_id, image=image)
    claimed = []
    while job := services.leases.claim_next("warp", "w"):
        claimed.append(job.account_id)
    assert sorted(claimed) == sorted([bound, free, free, free])


def _fail(services: Services, make: Factory, account_id: str) -> None:
    job = make.running(account_id)
    services.leases.fail(job, DragNotReachable("no way"))


def _requeue(services: Services, make: Factory, account_id: str) -> None:
    job = make.running(account_id)
    services.leases.fail_or_requeue(job, StorageUnavailable("away"))


def _cancel_queued(services: Services, make: Factory, account_id: str) -> None:
    services.jobs.cancel(account_id, make.job(account_id).id)


def _cancel_running(services: Services, make: Factory, account_id: str) -> None:
    job = make.running(account_id)
    services.jobs.cancel(account_id, job.id)
    services.leases.cancel(job)


def _expire(services: Services, make: Factory, account_id: str) -> None:
    make.job(account_id, expires_in_s=1)
    let_pass(services.database, 2)
    assert len(services.upkeep.expire_waiting()) == 1


def _succeed(services: Services, make: Factory, account_id: str) -> None:
    job = make.running(account_id)
    services.leases.succeed(job, a_result(job))


@pytest.mark.parametrize(
    ("end", "spent"),
    [(_fail, 0), (_cancel_queued, 0), (_expire, 0),
     (_cancel_running, JOB_PX), (_succeed, JOB_PX), (_requeue, JOB_PX)],
)  # fmt: skip
def test_a_job_gives_its_pixels_back_when_it_ends_in_vain_and_only_then(
    services: Services,
    make: Factory,
    end: Callable[[Services, Factory, str], None],
    spent: int,
) -> None:
    account_id = make.account()
    end(services, make, account_id)
    assert usage_of(services, account_id)["pixels_per_month"] == spent


def test_a_job_is_charged_for_each_of_its_candidates(services: Services, make: Factory) -> None:
    account_id = make.account()
    make.job(account_id, options={"candidates": 3})
    assert usage_of(services, account_id)["pixels_per_month"] == 3 * JOB_PX


def test_a_result_counts_until_it_is_deleted_or_forgotten(
    services: Services, make: Factory
) -> None:
    account_id = make.account()
    for remove in ("delete", "forget"):
        job = make.running(account_id)
        before = usage_of(services, account_id)["stored_bytes"]
        services.leases.succeed(job, {**a_result(job), "stored_bytes": 1000})
        assert services.leases.succeed(job, {**a_result(job), "stored_bytes": 1000})
        assert usage_of(services, account_id)["stored_bytes"] == before + 1000
        shown = services.jobs.get(account_id, job.id)
        assert shown.result is not None
        assert "stored_bytes" not in shown.result
        if remove == "delete":
            services.jobs.delete(account_id, job.id)
        else:
            let_pass(services.database, 31 * 86_400)
            (old,) = services.upkeep.results_past_retention()
            for _ in range(2):
                services.upkeep.say_that_pictures_are_gone(old)
            assert usage_of(services, account_id)["stored_bytes"] == before
            services.upkeep.forget(old)
            services.upkeep.forget(old)
        assert usage_of(services, account_id)["stored_bytes"] == before


def test_the_sums_are_what_the_rows_say_when_everything_happened_at_once(
    services: Services, make: Factory
) -> None:
    accounts = [make.account() for _ in range(2)]

    def live(number: int) -> None:
        account_id = accounts[number % 2]
        image = make.image(account_id)
        is_withdrawn = number % 3 == 0
        engine = "lightningdrag" if is_withdrawn else "warp"  # which nobody claims here
        job = make.job(account_id, image=image.id, engine=engine)
        if is_withdrawn:
            services.jobs.cancel(account_id, job.id)
            services.jobs.delete(account_id, job.id)
            services.images.delete(account_id, image.id)
            return
        running = services.leases.claim_next("warp", "w")
        if running is not None:
            services.leases.succeed(running, {**a_result(running), "stored_bytes": number})

    in_threads(live, [(number,) for number in range(18)])
    for account_id in accounts:
        usage = usage_of(services, account_id)
        with services.database.reading() as connection:
            mine = jobs.c.account_id == account_id
            stored = connection.scalar(
                select(func.coalesce(func.sum(jobs.c.stored_bytes), 0)).where(mine)
            )
            uploaded = connection.scalar(
                select(func.coalesce(func.sum(images.c.size_bytes), 0)).where(
                    images.c.account_id == account_id
                )
            )
            charged = connection.scalar(select(func.sum(jobs.c.pixels)).where(mine))
        assert usage["stored_bytes"] == int(stored or 0) + int(uploaded or 0)
        assert usage["pixels_per_month"] == int(charged or 0)


def test_images_past_their_time_make_room_for_each_of_their_accounts(
    services: Services, make: Factory
) -> None:
    accounts = [make.account() for _ in range(3)]
    for account_id in accounts:
        for _ in range(2):
            make.image(account_id, size_bytes=100)
    let_pass(services.database, 31 * 86_400)
    assert len(services.images.forget_expired()) == 6
    assert [usage_of(services, each)["stored_bytes"] for each in accounts] == [0, 0, 0]


def test_a_sum_is_a_few_rows_however_often_it_changed(services: Services, make: Factory) -> None:
    account_id = make.account()
    with services.database.writing() as connection:
        for amount in range(100):
            add_usage(connection, account_id, STORED_BYTES, amount - 40)
        assert used(connection, account_id, STORED_BYTES) == sum(range(100)) - 4000
        mine = account_usage.c.account_id == account_id
        rows = connection.scalar(select(func.count()).select_from(account_usage).where(mine))
    assert (rows or 0) <= 8


@pytest.mark.parametrize(
    ("moment", "left"),
    [("2026-11-30T23:59:59", 2), ("2026-12-31T23:59:00", 61), ("2027-02-01T00:00:00", 28 * 86_400)],
)
def test_a_month_ends_where_the_next_one_begins(moment: str, left: int) -> None:
    at = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
    assert seconds_of_month_left(at) in (left, left + 1, left - 1)
    after = at + seconds_of_month_left(at) * 1000
    assert pixels_of_month(after) != pixels_of_month(at) == f"pixels {moment[:7]}"

"""A submission that an earlier result answers: when it is, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select

from shared.accounts.limits import Limits
from shared.audit.trail import Actor, act_as
from shared.edits import JobWebhook, MaskImage, MaskRect, Priority
from shared.errors import InvalidRequest, TooManyQueued
from shared.images.store import Facts
from shared.jobs import cache_keys, forecast
from shared.jobs.cache_keys import cache_key
from shared.jobs.cached import answer, earlier_result
from shared.jobs.job import Job
from shared.jobs.state import JobState
from shared.jobs.store import _new_row
from shared.objects import image_key
from shared.orphans import Orphans
from shared.services import Services
from shared.telemetry.metrics import CACHE_LOOKUPS, JOB_MOVES
from shared.webhooks.tables import webhook_deliveries
from tests.api.calling import Caller, caller_of
from tests.batches import jsonl, lines_for, now, send, tend
from tests.contract.test_orphans import Later
from tests.factories import HOOK, Factory, a_spec, history, let_pass, row_of
from tests.kept import (
    DIGEST,
    PICTURE_BYTES,
    a_kept_result,
    come_up,
    contents_of,
    finish,
    submit,
)
from worker.sweep import remove_old_results

RESULT_BYTES = 2 * PICTURE_BYTES  # a candidate and the mask
MONTH_S = 31 * 86_400


@pytest.fixture(autouse=True)
def _nobody_acts_after_a_test() -> Iterator[None]:
    yield
    act_as(None)


@pytest.fixture
def account(make: Factory) -> str:
    return make.account()


@pytest.fixture
def image(make: Factory, account: str) -> str:
    return make.image(account).id


@pytest.fixture
def kept(services: Services, account: str, image: str) -> Job:
    """A job whose result is kept."""
    return a_kept_result(services, account, image)


def lookups(outcome: str) -> float:
    return CACHE_LOOKUPS.labels("warp", outcome)._value.get()


def stored(services: Services, account: str) -> int:
    return services.accounts.usage(account).stored_bytes


def test_a_job_is_born_succeeded_with_the_earlier_pictures(
    services: Services, kept: Job, account: str, image: str
) -> None:
    before, submits = lookups("hit"), JOB_MOVES.labels("warp", "submit")._value.get()
    job = submit(services, account, image, metadata={"order": "7"}, expires_in_s=60)
    assert lookups("hit") == before + 1
    assert JOB_MOVES.labels("warp", "submit")._value.get() == submits
    assert services.jobs.get(account, job.id) == job
    assert job.status is JobState.SUCCEEDED
    assert (job.attempt, job.losses, job.retries) == (0, 0, 0)
    assert (job.step, job.steps) == (kept.step, kept.steps) == (1, 1)
    assert job.started_at is job.claimed_at is job.deadline_at is None
    assert job.finished_at == job.created_at
    assert job.retain_until == job.created_at + 30 * 86_400_000
    assert job.expires_at == job.created_at + 60_000
    assert job.result is not None
    assert kept.result is not None
    assert job.result["candidates"] == kept.result["candidates"]
    assert job.result["mask_key"] == kept.result["mask_key"]
    assert job.result["model_digest"] == DIGEST
    assert (job.result["cached"], kept.result["cached"]) == (True, False)
    assert job.result.keys() == kept.result.keys()
    assert set(job.result["timings"].values()) == {0.0}
    assert history(services.database, job.id) == ["succeeded"]
    assert services.leases.claim_next("warp", "worker-1") is None
    (listed,) = services.jobs.page(account, limit=9, metadata={"order": "7"})
    assert listed == job


def test_it_is_told_charged_and_written_down_like_any_other(
    services: Services, make: Factory, kept: Job, account: str, image: str
) -> None:
    endpoint = make.endpoint(account, "job.*")
    act_as(Actor("key", "k1", "r1"))
    completed: list[tuple[str, bool]] = []
    spent = services.accounts.usage(account)
    webhook = JobWebhook(HOOK, ("job.succeeded",))
    job = submit(
        services, account, image, webhook=webhook,
        completion=lambda connection, job_id, is_new: completed.append((job_id, is_new)),
    )  # fmt: skip
    assert completed == [(job.id, True)]
    assert services.accounts.usage(account) == spent
    query = select(webhook_deliveries).where(webhook_deliveries.c.job_id == job.id)
    with services.database.reading() as connection:
        told = connection.execute(query).all()
    assert {(row.endpoint_id, row.url) for row in told} == {(endpoint.id, None), (None, HOOK)}
    assert {row.event_type for row in told} == {"job.succeeded"}
    (entry,) = services.audit_log.page(account, limit=9, subject=job.id)
    assert (entry.action, entry.details) == ("job.created", {"retried_from": None, "cached": True})


def test_nothing_is_made_when_its_idempotency_key_was_taken_over(
    services: Services, kept: Job, account: str, image: str
) -> None:
    def taken_over(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        submit(services, account, image, completion=taken_over)
    assert [job.id for job in services.jobs.page(account, limit=9)] == [kept.id]


def test_no_limit_stands_in_the_way_of_what_does_not_run(
    services: Services, kept: Job, account: str, image: str
) -> None:
    limits = {"queued_jobs": 1, "pixels_per_month": 64 * 48}
    services.accounts.set_limits(services.accounts.get(account).name, limits)
    for _ in range(3):
        assert submit(services, account, image).status is JobState.SUCCEEDED
    services.accounts.set_limits(services.accounts.get(account).name, {"pixels_per_month": 0})
    submit(services, account, image, options={"seed": 2})
    with pytest.raises(TooManyQueued):
        submit(services, account, image, options={"seed": 3})


SAME: dict[str, dict[str, Any]] = {
    "metadata": {"metadata": {"a": "b"}},
    "priority": {"priority": Priority.LOW},
    "limits of time": {"timeout_s": 9, "expires_in_s": 9},
    "one round": {"is_single": False},
}


@pytest.mark.parametrize("name", SAME)
def test_it_is_answered_when_what_differs_shapes_no_picture(
    services: Services, kept: Job, account: str, image: str, name: str
) -> None:
    assert submit(services, account, image, **SAME[name]).origin_id == kept.id


def test_it_is_answered_when_the_same_bytes_were_uploaded_again(
    services: Services, make: Factory, account: str
) -> None:
    def upload(number: int, digit: str) -> str:
        facts = Facts(digit * 64, "image/png", 9, 64, 48, False)
        image_id = f"img_{number:032x}"
        key = image_key(account, digit * 64, image_id)
        return services.images.add(account, image_id, key, facts)[0].id

    image, mask = upload(0xA1, "a"), upload(0xB1, "b")
    kept = a_kept_result(services, account, image, mask=MaskImage(mask))
    for image_id in (image, mask):
        services.images.delete(account, image_id)
    image, mask, other = upload(0xA2, "a"), upload(0xB2, "b"), upload(0xB3, "c")
    assert submit(services, account, image, mask=MaskImage(mask)).origin_id == kept.id
    assert submit(services, account, image, mask=MaskImage(other)).origin_id is None


def test_it_is_answered_by_a_job_whose_seed_was_nobodys_choice(
    services: Services, account: str, image: str
) -> None:
    come_up(services)
    first = finish(services, services.jobs.submit(account, a_spec(image), {}))
    assert submit(services, account, image).origin_id == first.id


def _other_account(services: Services, make: Factory, account: str, image: str) -> Job:
    """With the very same bytes."""
    other = make.account()
    sha256 = services.images.get(account, image).sha256
    same = make.image(other, sha256=sha256)
    return submit(services, other, same.id)


def _no_seed(services: Services, make: Factory, account: str, image: str) -> Job:
    return services.jobs.submit(account, a_spec(image), {})


def _retry(services: Services, make: Factory, account: str, image: str) -> Job:
    (kept,) = services.jobs.page(account, limit=9)
    return services.jobs.submit(account, kept.spec, kept.metadata, retried_from=kept.id)


def _switched_off(services: Services, make: Factory, account: str, image: str) -> Job:
    return submit(services, account, image, options={"cache": False})


def _other_seed(services: Services, make: Factory, account: str, image: str) -> Job:
    return submit(services, account, image, options={"seed": 43})


def _other_mask(services: Services, make: Factory, account: str, image: str) -> Job:
    return submit(services, account, image, mask=MaskRect(0, 0, 60, 40))


def _other_image(services: Services, make: Factory, account: str, image: str) -> Job:
    return submit(services, account, make.image(account).id)


def _other_model(services: Services, make: Factory, account: str, image: str) -> Job:
    come_up(services, "test-2")
    return submit(services, account, image)


def _two_models(services: Services, make: Factory, account: str, image: str) -> Job:
    come_up(services, "test-2", worker="worker-2")
    return submit(services, account, image)


def _no_worker(services: Services, make: Factory, account: str, image: str) -> Job:
    services.engines_up.gone("worker-1")
    return submit(services, account, image)


def _past_its_retention(services: Services, make: Factory, account: str, image: str) -> Job:
    let_pass(services.database, 30 * 86_400 + 1)
    come_up(services)
    return submit(services, account, image)


def _pictures_gone(services: Services, make: Factory, account: str, image: str) -> Job:
    (kept,) = services.jobs.page(account, limit=9)
    assert services.upkeep.say_that_pictures_are_gone(kept)
    return submit(services, account, image)


def _deleted(services: Services, make: Factory, account: str, image: str) -> Job:
    (kept,) = services.jobs.page(account, limit=9)
    services.jobs.delete(account, kept.id)
    return submit(services, account, image)


@pytest.mark.parametrize(
    "ask",
    [_other_account, _no_seed, _retry, _switched_off, _other_seed, _other_mask, _other_image,
     _other_model, _two_models, _no_worker, _past_its_retention, _pictures_gone, _deleted],
)  # fmt: skip
def test_it_is_run_when_no_result_is_the_answer(
    services: Services,
    make: Factory,
    kept: Job,
    account: str,
    image: str,
    ask: Callable[[Services, Factory, str, str], Job],
) -> None:
    hits = lookups("hit")
    job = ask(services, make, account, image)
    assert (job.status, job.origin_id, job.result) == (JobState.QUEUED, None, None)
    assert lookups("hit") == hits
    assert history(services.database, job.id) == ["queued"]


@pytest.mark.parametrize("changes", [{"provenance": "off"}, {"result_cache": "off"}], ids=str)
def test_it_is_run_when_a_setting_says_so(
    services: Services, build: Callable[..., Services], account: str, image: str, changes: Any
) -> None:
    a_kept_result(services, account, image)
    assert submit(build(**changes), account, image).status is JobState.QUEUED


def test_it_is_run_by_new_software(
    services: Services, kept: Job, account: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.services.__version__", "later")
    assert submit(services, account, image).status is JobState.QUEUED


def test_a_job_that_wants_no_cache_answers_nobody(
    services: Services, account: str, image: str
) -> None:
    alone = a_kept_result(services, account, image, options={"cache": False})
    assert row_of(services.database, alone.id)["cache_key"] is None
    assert submit(services, account, image).status is JobState.QUEUED


def test_a_retry_answers_the_next_one(
    services: Services, kept: Job, account: str, image: str
) -> None:
    retried = services.jobs.submit(account, kept.spec, {}, retried_from=kept.id)
    again = finish(services, retried)
    assert submit(services, account, image).origin_id == again.id


def test_a_miss_is_counted_once(services: Services, make: Factory, account: str) -> None:
    come_up(services)
    before = lookups("miss")
    submit(services, account, make.image(account).id)
    assert lookups("miss") == before + 1
    act_as(Actor("key", "k1", "r1"))
    submit(services, account, make.image(account).id, limits=Limits())
    assert lookups("miss") == before + 2
    services.jobs.submit(account, a_spec(make.image(account).id), {})
    assert lookups("miss") == before + 2


def test_it_is_refused_when_its_image_is_gone_though_the_result_is_kept(
    services: Services, kept: Job, account: str, image: str
) -> None:
    spec = a_spec(image)
    contents = contents_of(services, account, spec)
    services.images.delete(account, image)
    with pytest.raises(InvalidRequest) as caught:
        services.jobs.submit(account, spec, {}, contents=contents)
    assert [v.code for v in caught.value.violations] == ["image_not_found"]


def test_it_is_known_beforehand_whether_there_is_an_answer(
    services: Services, kept: Job, account: str, image: str
) -> None:
    for spec, is_answered in (
        (a_spec(image), True),
        (a_spec(image, options={"seed": 1}), False),
        (a_spec(image, options={"cache": False}), False),
    ):
        contents = contents_of(services, account, spec)
        assert services.jobs.is_answered(account, spec, contents) is is_answered


def test_one_model_is_asked_for_once_in_a_while(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = services.engines_up
    assert up.model_of("warp") is None
    come_up(services, "one")
    assert (up.model_of("warp"), up.model_of("lightningdrag")) == ("one", None)
    elsewhere = type(up)(services.database, alive_s=600)
    come_up(replace(services, engines_up=elsewhere), "two")  # another process says so
    assert up.model_of("warp") == "one"
    monkeypatch.setattr("shared.engines_up.KEPT_S", -1.0)
    assert up.model_of("warp") == "two"
    let_pass(services.database, 601)
    assert up.model_of("warp") is None


def test_the_pace_of_an_engine_is_that_of_jobs_which_ran(
    services: Services, kept: Job, account: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "KEPT_S", -1.0)
    before = services.forecasts.pace("warp")
    for _ in range(forecast.SAMPLE + 5):
        assert submit(services, account, image).status is JobState.SUCCEEDED
    assert services.forecasts.pace("warp") == before


def test_an_answer_is_counted_for_the_batch_whose_item_it_is(
    build: Callable[..., Services],
) -> None:
    services = build(batch_window=1)
    make = Factory(services)
    account = make.account()
    image = make.image(account).id
    kept = a_kept_result(services, account, image)
    batch = send(services, account, jsonl(lines_for(image, 2)))
    tend(services)
    contents = contents_of(services, account, kept.spec)
    key = cache_key(account, kept.spec, contents, services.maker(DIGEST))
    assert key is not None
    values = {**_new_row(account, kept.spec, {}, None), "of_key": key, "new_batch_id": batch.id}
    with services.database.writing() as connection:
        earlier = earlier_result(connection, account, key)
        assert earlier is not None
        job = answer(connection, earlier, values, retention_ms=1000)
    assert (job.batch_id, job.origin_id) == (batch.id, kept.id)
    counts = now(services, batch).counts
    assert (counts["succeeded"], counts["total"]) == (1, 2)


# Objects: they live as long as any row points to them


def objects_of(services: Services, account: str) -> list[str]:
    return [found.key for found in services.objects.walk(f"results/{account}/", "", 100)]


def delete(caller: Caller, job: Job) -> None:
    """Over HTTP: the row, then what nobody points to."""
    assert caller.delete(f"/v1/jobs/{job.id}").status_code == 200


def pass_retention(caller: Caller, job: Job) -> None:
    """The sweep finds this one past its retention."""
    services = caller.client.application.extensions["towline"].services
    due = services.jobs.get(job.account_id, job.id)

    class Due:
        def results_past_retention(self) -> list[Job]:
            return [due]

        def __getattr__(self, name: str) -> Any:
            return getattr(services.upkeep, name)

    upkeep: Any = Due()
    remove_old_results(replace(services, upkeep=upkeep))


def living(services: Services, account: str) -> list[dict[str, Any]]:
    """Rows that point to pictures."""
    rows = [row_of(services.database, job.id) for job in services.jobs.page(account, limit=99)]
    return [row for row in rows if row["result"] and row["pictures_gone_at"] is None]


def assert_all_is_well(services: Services, account: str, uploaded: int) -> None:
    """Every row's pictures are there, no others are, and one row pays for each set of them."""
    rows = living(services, account)
    named = {candidate["key"] for row in rows for candidate in row["result"]["candidates"]}
    named |= {row["result"]["mask_key"] for row in rows}
    assert set(objects_of(services, account)) == named
    sets = {row["origin_id"] or row["id"] for row in rows}
    payers = [row for row in rows if row["stored_bytes"] is not None]
    assert sorted(row["origin_id"] or row["id"] for row in payers) == sorted(sets)
    assert sum(row["stored_bytes"] for row in payers) == RESULT_BYTES * len(sets)
    assert stored(services, account) == uploaded + RESULT_BYTES * len(sets)


@pytest.mark.parametrize("ways", [(delete,) * 3, (pass_retention,) * 3,
                                  (delete, pass_retention, delete),
                                  (pass_retention, delete, pass_retention)])  # fmt: skip
@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_pictures_live_as_long_as_any_row_points_to_them(
    services: Services,
    make: Factory,
    order: tuple[int, ...],
    ways: tuple[Callable[[Caller, Job], None], ...],
) -> None:
    caller = caller_of(services)
    account = caller.account_id
    image = make.image(account)
    first = a_kept_result(services, account, image.id)
    jobs = [first, *(submit(services, account, image.id) for _ in range(2))]
    keys = objects_of(services, account)
    assert len(keys) == 2
    for number, way in zip(order, ways, strict=True):
        assert objects_of(services, account) == keys
        assert_all_is_well(services, account, image.size_bytes)
        way(caller, jobs[number])
    assert living(services, account) == []
    assert_all_is_well(services, account, image.size_bytes)


def test_an_answer_answers_on_when_the_first_job_is_gone(
    services: Services, kept: Job, account: str, image: str
) -> None:
    second = submit(services, account, image)
    services.jobs.delete(account, kept.id)
    third = submit(services, account, image)
    assert (second.origin_id, third.origin_id) == (kept.id, kept.id)
    assert third.object_keys == second.object_keys == objects_of(services, account)


def test_rows_that_are_forgotten_change_no_sum(
    services: Services, make: Factory, kept: Job, account: str, image: str
) -> None:
    before = stored(services, account) - RESULT_BYTES
    submit(services, account, image)
    let_pass(services.database, MONTH_S)
    for job in services.upkeep.results_past_retention():
        services.upkeep.say_that_pictures_are_gone(job)
    assert stored(services, account) == before
    let_pass(services.database, 90 * 86_400)
    forgotten = services.upkeep.jobs_past_retention()
    assert len(forgotten) == 2
    for job in forgotten:
        services.upkeep.forget(job)
    assert stored(services, account) == before


def test_a_job_whose_pictures_were_passed_on_takes_none_with_it(
    services: Services, make: Factory
) -> None:
    caller = caller_of(services)
    image = make.image(caller.account_id)
    first = a_kept_result(services, caller.account_id, image.id)
    second = submit(services, caller.account_id, image.id)
    assert not services.upkeep.say_that_pictures_are_gone(first)
    gone = caller.delete(f"/v1/jobs/{first.id}").json
    assert gone["removed"] == {"objects": 0, "bytes": 0, "deliveries": 0}
    assert_all_is_well(services, caller.account_id, image.size_bytes)
    gone = caller.delete(f"/v1/jobs/{second.id}").json
    assert gone["removed"] == {"objects": 2, "bytes": RESULT_BYTES, "deliveries": 0}


def collect(services: Services) -> int:
    objects: Any = Later(services.objects)
    orphans, count = Orphans(services.database, objects, grace_s=3600.0), 0
    while not orphans._rests_until:
        count += orphans.collect()
    return count


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_no_picture_is_an_orphan_while_any_row_points_to_it(
    services: Services, kept: Job, account: str, image: str, is_forgotten: bool
) -> None:
    second = submit(services, account, image)
    services.objects.put(f"results/{account}/{kept.id}/7/0.png", b"of an attempt that died")
    if is_forgotten:
        services.jobs.delete(account, kept.id)
    else:
        services.upkeep.say_that_pictures_are_gone(kept)
    assert collect(services) == 1
    assert objects_of(services, account) == second.object_keys
    services.jobs.delete(account, second.id)  # and died before its pictures were deleted
    assert collect(services) == 2
    assert objects_of(services, account) == []


def test_nothing_is_left_when_the_account_is_deleted(
    services: Services, kept: Job, account: str, image: str
) -> None:
    for _ in range(3):
        submit(services, account, image)
    services.jobs.delete(account, kept.id)
    before = stored(services, account)
    removed = services.account_deletion.delete(services.accounts.get(account).name)
    assert (removed.jobs, removed.stored_bytes) == (3, before)
    assert objects_of(services, account) == []


def test_the_option_that_turns_it_off_is_one_of_every_engine() -> None:
    assert cache_keys.SWITCH in a_spec().options

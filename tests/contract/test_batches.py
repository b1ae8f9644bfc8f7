"""Batches on both databases: read, accepted or rejected as a whole, run, ended once, retried."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from shared.accounts.tables import accounts
from shared.accounts.usage import pixels_of_month, used
from shared.batches import rows
from shared.batches.batch import MAX_UNREAD, Batch, NewBatch
from shared.batches.state import BatchState
from shared.batches.tables import batch_items, batches
from shared.db import now_ms
from shared.errors import (
    BatchNotFinal,
    EngineFailed,
    ImageInUse,
    InvalidRequest,
    NotFound,
    NothingToRetry,
    StorageUnavailable,
    TooManyQueued,
)
from shared.images.tables import images
from shared.jobs.tables import jobs
from shared.services import Services
from shared.webhooks.tables import webhook_deliveries
from tests.batches import (
    DRAG,
    a_line,
    jsonl,
    lines_for,
    now,
    results_of,
    run_all,
    send,
    tend,
    tender_of,
)
from tests.crowd import in_threads
from tests.factories import Factory, a_result, history, let_pass
from tests.kept import come_up, run_next
from worker.sweep import sweep

PIXELS = 64 * 48


def charged(services: Services, account_id: str) -> int:
    with services.database.reading() as connection:
        month = pixels_of_month(connection.scalar(select(now_ms())) or 0)
        return used(connection, account_id, month)


def told(services: Services, batch: Batch) -> list[tuple[str, dict[str, Any]]]:
    """What was promised about a batch: the event, and its data."""
    query = select(webhook_deliveries.c.event_type, webhook_deliveries.c.data)
    with services.database.reading() as connection:
        rows = connection.execute(query.where(webhook_deliveries.c.data.is_not(None))).all()
    return [(row.event_type, row.data) for row in rows if row.data["id"] == batch.id]


def count_jobs(services: Services) -> int:
    with services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def fail(services: Services) -> Any:
    return lambda job: services.leases.fail(job, EngineFailed("no"))


def test_a_batch_runs_to_its_end_when_its_lines_are_good(services: Services, make: Factory) -> None:
    account = make.account()
    make.endpoint(account, "batch.*")
    image = make.image(account).id
    batch = send(services, account, jsonl(lines_for(image, 5)), metadata={"order": "7"})
    assert (batch.status, batch.counts["total"]) == (BatchState.VALIDATING, 0)
    assert services.leases.claim_next("warp", "worker") is None
    tend(services)
    accepted = now(services, batch)
    assert accepted.status is BatchState.RUNNING
    assert accepted.counts == {
        "total": 5, "queued": 5, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0,
        "expired": 0, "invalid": 0,
    }  # fmt: skip
    assert charged(services, account) == 5 * PIXELS
    first = services.leases.claim_next("warp", "worker")
    assert first is not None
    assert first.batch_id == batch.id
    assert now(services, batch).counts["running"] == 1
    services.leases.succeed(first, a_result(first))
    run_all(services, limit=3)
    assert now(services, batch).counts["succeeded"] == 4
    assert not told(services, batch)
    run_all(services)
    done = now(services, batch)
    assert done.status is BatchState.COMPLETED
    assert done.finished_at is not None
    assert done.counts["succeeded"] == done.counts["total"] == 5
    assert results_of(services, batch) == [(f"item {n}", "succeeded") for n in range(1, 6)]
    ((event, data),) = told(services, batch)
    assert event == "batch.completed"
    assert data["counts"] == done.counts
    assert data["metadata"] == {"order": "7"}
    sweep(services)
    assert len(told(services, batch)) == 1, "once"


def test_every_outcome_is_counted_when_items_end_differently(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    lines = lines_for(image, 4)
    lines[3]["expires_in_s"] = 1
    batch = send(services, account, jsonl(lines))
    tend(services)
    run_all(services, fail(services), limit=1)
    run_all(services, limit=1)
    third = services.leases.claim_next("warp", "worker")
    assert third is not None
    services.jobs.cancel(account, third.id)
    services.leases.cancel(third)
    let_pass(services.database, 5)
    sweep(services)
    counts = now(services, batch).counts
    ended = {name: counts[name] for name in ("succeeded", "failed", "canceled", "expired")}
    assert ended == {"succeeded": 1, "failed": 1, "canceled": 1, "expired": 1}
    assert now(services, batch).status is BatchState.COMPLETED


def test_nothing_runs_and_nothing_is_charged_when_one_line_is_bad(
    services: Services, make: Factory
) -> None:
    account = make.account()
    make.endpoint(account, "batch.rejected")
    image = make.image(account).id
    lines = lines_for(image, 250)
    lines[120] = {"custom_id": "item 121", "image": "img_none"}
    batch = send(services, account, jsonl(lines))
    tend(services)
    rejected, invalid = services.batches.get(account, batch.id)
    assert rejected.status is BatchState.REJECTED
    assert [(each.line, each.custom_id) for each in invalid] == [(121, "item 121")]
    assert rejected.counts["invalid"] == 1
    assert rejected.counts["queued"] == 0
    assert (count_jobs(services), charged(services, account)) == (0, 0)
    assert [event for event, _ in told(services, batch)] == ["batch.rejected"]
    services.images.delete(account, image)  # nobody needs it
    for _ in range(3):
        sweep(services)
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(batch_items)) == 1


def test_the_good_lines_run_when_the_batch_skips_the_bad_ones(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    lines: list[Any] = lines_for(image, 3)
    lines[1] = b"{nonsense\n"
    batch = send(services, account, jsonl(lines), skips_invalid=True)
    tend(services)
    run_all(services)
    done, invalid = services.batches.get(account, batch.id)
    assert done.status is BatchState.COMPLETED
    assert (done.counts["total"], done.counts["invalid"], done.counts["succeeded"]) == (3, 1, 2)
    assert [each.line for each in invalid] == [2]
    assert charged(services, account) == 2 * PIXELS


def test_a_batch_of_nothing_but_bad_lines_is_over_at_once_when_it_skips_them(
    services: Services, make: Factory
) -> None:
    batch = send(services, make.account(), b"[]\n\n{}\n", skips_invalid=True)
    tend(services)
    assert now(services, batch).status is BatchState.COMPLETED
    assert now(services, batch).counts["invalid"] == 2


def test_a_batch_is_rejected_when_it_holds_no_job(services: Services, make: Factory) -> None:
    batch = send(services, make.account(), b"\n  \n")
    tend(services)
    rejected, invalid = services.batches.get(batch.account_id, batch.id)
    assert rejected.status is BatchState.REJECTED
    assert [(each.line, each.violations[0].code) for each in invalid] == [(0, "batch_empty")]


def test_a_name_is_refused_when_a_line_before_has_it(services: Services, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    lines = lines_for(image, 405)
    lines[1]["custom_id"] = lines[404]["custom_id"] = "item 1"
    batch = send(services, account, jsonl(lines))
    tend(services)
    _, invalid = services.batches.get(account, batch.id)
    assert [(each.line, each.violations[0].code) for each in invalid] == [
        (2, "duplicate_custom_id"),
        (405, "duplicate_custom_id"),
    ]


def test_a_line_is_skipped_whole_when_it_is_too_long(services: Services, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    long = b'{"custom_id": "' + b"x" * (3 * 2**20) + b'"}\n'
    exact = jsonl([a_line(image, "exact")])
    exact = exact[:-1] + b" " * (2**20 - len(exact) + 1) + b"\n"
    data = jsonl([a_line(image, "a"), long, a_line(image, "b"), exact, long[:-1]])
    batch = send(services, account, data, skips_invalid=True)
    tend(services)
    accepted, invalid = services.batches.get(account, batch.id)
    assert [(each.line, each.violations[0].code) for each in invalid] == [
        (2, "line_too_long"),
        (5, "line_too_long"),
    ]
    assert accepted.counts["queued"] == 3
    assert accepted.lines == 5


def test_no_line_says_more_than_can_be_kept(services: Services, make: Factory) -> None:
    many = {f"field {n}": 0 for n in range(50_000)}
    twice = json.dumps({f"name {n}": 0 for n in range(50_000)})[:-1] + ', "name 49999": 1}\n'
    long = {"custom_id": "a", "image": "x" * 500_000, "drags": [DRAG]}
    nul = {"custom_id": "b", "image": "a\0b", "mask": "c\0d", "drags": [DRAG]}
    data = jsonl([many, twice.encode(), long, nul])
    batch = send(services, make.account(), data)
    tend(services)
    _, invalid = services.batches.get(batch.account_id, batch.id)
    assert [each.line for each in invalid] == [1, 2, 3, 4]
    assert [len(each.violations) for each in invalid[:2]] == [20, 1]
    assert all(len(v.detail) <= 300 for each in invalid for v in each.violations)
    assert {v.code for v in invalid[3].violations} >= {"wrong_format"}


def test_errors_are_read_no_further_than_they_are_shown(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_ERRORS_SHOWN", 30)
    monkeypatch.setattr(rows, "READ_AT_ONCE", 10)
    batch = send(services, make.account(), b"[]\n" * 100)
    tend(services)
    rejected, invalid = services.batches.get(batch.account_id, batch.id)
    assert (rejected.invalid, len(invalid)) == (100, 40)


def test_a_line_is_invalid_when_the_bytes_of_its_mask_are_gone(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image, mask = make.image(account).id, make.image(account).id
    batch = send(services, account, jsonl([a_line(image, "a", mask=mask)]))
    tend(services)
    _, invalid = services.batches.get(account, batch.id)
    assert [(v.pointer, v.code) for v in invalid[0].violations] == [("/mask", "image_not_found")]


def test_nothing_of_a_batch_runs_while_the_account_is_full(
    services: Services, make: Factory
) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 1)))
    upkeep, limits = services.batch_upkeep, services.batch_upkeep._defaults
    upkeep._defaults = replace(limits, stored_bytes=1)
    tend(services)
    rejected, invalid = services.batches.get(account, batch.id)
    assert rejected.status is BatchState.REJECTED
    assert invalid[0].violations[0].code == "storage_quota_exceeded"
    upkeep._defaults = limits
    second = send(services, account, jsonl(lines_for(make.image(account).id, 1)))
    taken = upkeep.take_next()
    assert taken is not None
    tender_of(services)._take_step(taken)
    upkeep._defaults = replace(limits, stored_bytes=1)
    tend(services)
    assert count_jobs(services) == 0
    upkeep._defaults = limits
    let_pass(services.database, 5)
    tend(services)
    assert now(services, second).waiting == 0


def test_a_retry_leaves_out_what_no_engine_here_can_run(services: Services, make: Factory) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 2)))
    tend(services)
    run_all(services, fail(services))
    again = services.batches.retry(account, batch.id, engines=["lightningdrag"])
    assert (again.counts["invalid"], again.status) == (2, BatchState.COMPLETED)
    _, invalid = services.batches.get(account, again.id)
    assert {v.code for each in invalid for v in each.violations} == {"engine_unavailable"}


def test_the_last_line_counts_when_it_has_no_end(services: Services, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    batch = send(services, account, jsonl(lines_for(image, 2)).rstrip(b"\n"))
    tend(services)
    assert now(services, batch).counts["queued"] == 2


def test_items_become_jobs_a_window_at_a_time(services: Services, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    services.batch_upkeep._window = 10
    lines = lines_for(image, 25)
    lines[24]["priority"] = "high"
    batch = send(services, account, jsonl(lines))
    tend(services)
    assert count_jobs(services) == 10
    assert now(services, batch).counts["queued"] == 25
    first = services.leases.claim_next("warp", "worker")
    assert first is not None
    assert first.spec.priority == 0, "the last line, which goes first"
    services.leases.succeed(first, a_result(first))
    run_all(services, limit=3)
    tend(services)
    assert count_jobs(services) == 10, "more than half of the window waits"
    run_all(services)
    tend(services)
    run_all(services)
    tend(services)
    run_all(services)
    assert now(services, batch).status is BatchState.COMPLETED
    assert now(services, batch).counts["succeeded"] == 25


def test_a_batch_waits_for_room_when_the_account_may_queue_few(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    services.batch_upkeep._defaults = replace(services.batch_upkeep._defaults, queued_jobs=3)
    batch = send(services, account, jsonl(lines_for(image, 8)))
    tend(services)
    assert count_jobs(services) == 3
    for _ in range(3):
        run_all(services)
        let_pass(services.database, 5)
        tend(services)
    run_all(services)
    assert now(services, batch).status is BatchState.COMPLETED


def test_a_batch_is_rejected_whole_when_its_pixels_are_more_than_are_left(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    limit = 3 * PIXELS
    services.batch_upkeep._defaults = replace(
        services.batch_upkeep._defaults, pixels_per_month=limit
    )
    small = send(services, account, jsonl(lines_for(image, 2)))
    large = send(services, account, jsonl(lines_for(image, 2)))
    tend(services)
    assert {now(services, small).status, now(services, large).status} == {
        BatchState.RUNNING, BatchState.REJECTED,
    }  # fmt: skip
    assert charged(services, account) == 2 * PIXELS


def test_pixels_come_back_when_a_batch_is_canceled(services: Services, make: Factory) -> None:
    account = make.account()
    make.endpoint(account, "batch.canceled")
    image = make.image(account).id
    services.batch_upkeep._window = 4
    batch = send(services, account, jsonl(lines_for(image, 10)))
    tend(services)
    run_all(services, limit=1)
    running = services.leases.claim_next("warp", "worker")
    assert running is not None
    canceling = services.batches.cancel(account, batch.id)
    assert canceling.status is BatchState.RUNNING
    assert (canceling.counts["canceled"], canceling.counts["running"]) == (8, 1)
    assert services.batches.cancel(account, batch.id).counts == canceling.counts
    assert not told(services, batch)
    assert services.leases.heartbeat(running, 1, 2).is_cancel_requested
    assert services.leases.cancel(running)
    canceled = now(services, batch)
    assert canceled.status is BatchState.CANCELED
    assert canceled.counts["canceled"] == 9
    assert charged(services, account) == 2 * PIXELS, "what had begun is charged"
    assert [event for event, _ in told(services, batch)] == ["batch.canceled"]
    tend(services)
    assert services.leases.claim_next("warp", "worker") is None
    states = [state for _, state in results_of(services, batch)]
    assert states == ["succeeded", "canceled", "canceled", "canceled"] + 6 * [None]


def test_an_account_is_told_to_come_back_when_many_batches_wait_to_be_read(
    services: Services, make: Factory
) -> None:
    account = make.account()
    data = jsonl(lines_for(make.image(account).id, 1))
    for _ in range(MAX_UNREAD):
        send(services, account, data)
    with pytest.raises(TooManyQueued):
        send(services, account, data)
    send(services, make.account(), data)
    tend(services)
    send(services, account, data)


def test_a_batch_that_is_read_can_be_canceled(services: Services, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    batch = send(services, account, jsonl(lines_for(image, 500)))
    upkeep = services.batch_upkeep
    taken = upkeep.take_next()
    assert taken is not None
    tender_of(services)._take_step(taken)
    assert services.batches.cancel(account, batch.id).status is BatchState.CANCELED
    tend(services)
    assert now(services, batch).status is BatchState.CANCELED
    assert count_jobs(services) == 0
    sweep(services)
    with pytest.raises(NotFound):
        services.objects.get(batch.object_key or "")


def test_a_retry_takes_what_failed_or_expired_alone(services: Services, make: Factory) -> None:
    account = make.account()
    image, other = make.image(account).id, make.image(account).id
    lines = lines_for(image, 5)
    lines[1]["image"] = other
    batch = send(services, account, jsonl(lines))
    tend(services)
    with pytest.raises(BatchNotFinal):
        services.batches.retry(account, batch.id)
    run_all(services, limit=1)
    run_all(services, fail(services), limit=3)
    run_all(services)
    services.images.delete(account, other)
    again = services.batches.retry(account, batch.id)
    assert (again.retried_from, again.status) == (batch.id, BatchState.RUNNING)
    assert (again.counts["total"], again.counts["invalid"]) == (3, 1)
    tend(services)
    run_all(services)
    assert now(services, again).status is BatchState.COMPLETED
    assert results_of(services, again) == [
        ("item 2", None),
        ("item 3", "succeeded"),
        ("item 4", "succeeded"),
    ]
    with pytest.raises(NothingToRetry):
        services.batches.retry(account, again.id)


def test_an_item_is_born_succeeded_when_an_earlier_result_answers_it(
    services: Services, make: Factory
) -> None:
    account = make.account()
    make.endpoint(account, "batch.*")
    image = make.image(account, is_stored=True).id
    come_up(services)
    seeded = [a_line(image, name, options={"seed": 7}) for name in ("a", "b")]
    first = send(services, account, jsonl(seeded))
    tend(services)
    while run_next(services) is not None:
        pass
    assert charged(services, account) == 2 * PIXELS
    others = [a_line(image, "c", options={"seed": 8}), a_line(image, "d")]
    again = send(services, account, jsonl([*seeded, *others]))
    tend(services)
    assert now(services, again).counts["succeeded"] == 2
    assert charged(services, account) == 4 * PIXELS, "an answer costs nothing"
    items = services.batches.items(account, again.id, after_line=0, limit=10)
    results = [item.job.result if item.job else None for item in items]
    assert [result and result["cached"] for result in results] == [True, True, None, None]
    off = [{**line, "options": {"seed": 7, "cache": False}} for line in seeded]
    third = send(services, account, jsonl(off))
    tend(services)
    assert now(services, third).counts["queued"] == 2
    services.batches.cancel(account, again.id)
    services.batches.cancel(account, third.id)
    whole = send(services, account, jsonl(seeded))
    tend(services)
    assert now(services, whole).status is BatchState.COMPLETED
    assert [event for event, _ in told(services, whole)] == ["batch.completed"]
    assert now(services, first).status is BatchState.COMPLETED


def test_a_retry_runs_what_an_earlier_result_could_answer(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account, is_stored=True).id
    come_up(services)
    line = a_line(image, "a", options={"seed": 7})
    failed = send(services, account, jsonl([line]))
    tend(services)
    run_all(services, fail(services))
    send(services, account, jsonl([line]))
    tend(services)
    assert run_next(services) is not None
    again = services.batches.retry(account, failed.id)
    tend(services)
    assert now(services, again).counts["queued"] == 1


def test_another_accounts_batch_does_not_exist(services: Services, make: Factory) -> None:
    owner, stranger = make.account(), make.account()
    batch = send(services, owner, jsonl(lines_for(make.image(owner).id, 1)))
    for ask in (services.batches.get, services.batches.cancel, services.batches.retry):
        with pytest.raises(NotFound):
            ask(stranger, batch.id)
    with pytest.raises(NotFound):
        services.batches.items(stranger, batch.id, after_line=0, limit=1)
    assert services.batches.page(stranger, limit=10) == []
    assert [each.id for each in services.batches.page(owner, limit=10)] == [batch.id]
    tend(services)
    lines = jsonl(lines_for(make.image(owner).id, 1))
    theirs = send(services, stranger, lines)
    tend(services)
    _, invalid = services.batches.get(stranger, theirs.id)
    assert invalid[0].violations[0].code == "image_not_found"


def test_an_image_stays_while_an_item_waits_for_it(services: Services, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    services.batch_upkeep._window = 1
    batch = send(services, account, jsonl(lines_for(image, 3)))
    tend(services)
    run_all(services)
    with pytest.raises(ImageInUse):
        services.images.delete(account, image)
    with services.database.writing() as connection:
        connection.execute(update(images).values(expires_at=1))
    assert services.images.forget_expired() == []
    services.batches.cancel(account, batch.id)
    services.images.delete(account, image)


def test_a_line_is_invalid_when_its_image_went_after_it_was_looked_at(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = make.account()
    image, other = make.image(account).id, make.image(account).id
    batch = send(services, account, jsonl([a_line(image, "a"), a_line(other, "b")]))
    upkeep, record = services.batch_upkeep, services.batch_upkeep.record

    def delete_first(*given: Any) -> bool:
        services.images.delete(account, other)
        return record(*given)

    monkeypatch.setattr(upkeep, "record", delete_first)
    tend(services)
    rejected, invalid = services.batches.get(account, batch.id)
    assert rejected.status is BatchState.REJECTED
    assert [(each.line, each.violations[0].code) for each in invalid] == [(2, "image_not_found")]


def test_a_slice_is_written_once_when_two_read_it(services: Services, make: Factory) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 3)))
    first, second = tender_of(services), tender_of(services)
    assert batch.object_key is not None
    found = [each._next_slice(batch, batch.object_key) for each in (first, second)]
    upkeep = services.batch_upkeep
    assert [upkeep.record(batch, each) for each in found] == [True, False]
    assert now(services, batch).total == 3
    assert upkeep.judge(batch) is not None
    assert upkeep.judge(batch) is None
    assert charged(services, account) == 3 * PIXELS


def test_a_batch_goes_on_where_it_was_when_whoever_tends_it_dies(
    services: Services, make: Factory
) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 450)))
    upkeep = services.batch_upkeep
    for step in range(2):  # dies before it writes, then after
        taken = upkeep.take_next()
        assert taken is not None
        assert taken.object_key is not None
        if step:
            upkeep.record(taken, tender_of(services)._next_slice(taken, taken.object_key))
        assert upkeep.take_next() is None, "it is somebody's for a lease"
        let_pass(services.database, 700)
    tend(services)
    assert now(services, batch).counts["queued"] == 450
    assert [name for name, _ in results_of(services, batch)] == [f"item {n}" for n in range(1, 451)]


def test_a_batch_rests_and_stays_when_the_storage_is_away(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 1)))

    def away(*_: Any) -> bytes:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(services.objects, "get_range", away)
        tend(services)
    assert now(services, batch).status is BatchState.VALIDATING
    let_pass(services.database, 5)
    tend(services)
    assert now(services, batch).status is BatchState.RUNNING


def test_a_batch_is_rejected_when_its_lines_are_gone(services: Services, make: Factory) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 1)))
    services.objects.delete(batch.object_key or "")
    tend(services)
    rejected, invalid = services.batches.get(account, batch.id)
    assert rejected.status is BatchState.REJECTED
    assert invalid[0].violations[0].code == "batch_unreadable"


def test_one_line_that_breaks_the_check_does_not_stop_the_batch(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = make.account()
    data = jsonl(lines_for(make.image(account).id, 2))
    batch = send(services, account, data, skips_invalid=True)
    broken = iter([RuntimeError("nobody foresaw it")])
    get = services.images.get

    def once(*given: str) -> Any:
        for error in broken:
            raise error
        return get(*given)

    monkeypatch.setattr(services.images, "get", once)
    tend(services)
    accepted, invalid = services.batches.get(account, batch.id)
    assert [(each.line, each.violations[0].code) for each in invalid] == [(1, "internal_error")]
    assert accepted.counts["queued"] == 1


def test_the_sweep_ends_a_batch_when_its_last_two_end_at_one_moment(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where neither transaction sees the other's tally: none of them ends the batch."""
    account = make.account()
    make.endpoint(account, "batch.*")
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 2)))
    tend(services)
    with monkeypatch.context() as patched:
        patched.setattr("shared.batches.tally.finish_one", lambda *_: [])
        run_all(services)
    assert now(services, batch).status is BatchState.RUNNING
    sweep(services)
    sweep(services)
    assert now(services, batch).status is BatchState.COMPLETED
    assert [event for event, _ in told(services, batch)] == ["batch.completed"]


def test_nobody_waits_for_ever_when_a_batch_is_canceled_while_its_jobs_end(
    services: Services, make: Factory
) -> None:
    account = make.account()
    make.endpoint(account, "batch.*")
    image = make.image(account).id
    sent = [send(services, account, jsonl(lines_for(image, 12))) for _ in range(4)]
    tend(services)

    def work(name: str | None) -> None:
        while name and (job := services.leases.claim_next("warp", name)):
            if not services.leases.succeed(job, a_result(job)):
                services.leases.cancel(job)
        for batch in [] if name else sent:
            services.batches.cancel(account, batch.id)

    in_threads(work, [("first",), ("second",), ("third",), (None,)])
    sweep(services)
    for batch in sent:
        counts = now(services, batch).counts
        assert now(services, batch).status.is_final
        assert counts["succeeded"] + counts["canceled"] == counts["total"] == 12
        assert len(told(services, batch)) == 1


def test_items_have_a_whole_life_of_events(services: Services, make: Factory) -> None:
    account = make.account()
    line = a_line(make.image(account).id, "a", metadata={"k": "v"})
    send(services, account, jsonl([line]))
    tend(services)
    (job,) = services.jobs.page(account, limit=5, metadata={"k": "v"})
    assert [each.id for each in services.jobs.page(account, limit=5, batch=job.batch_id)] == [
        job.id
    ]
    run_all(services)
    assert history(services.database, job.id) == ["queued", "running", "succeeded"]


def test_a_batch_is_accepted_at_once_when_its_items_were_looked_at(
    services: Services, make: Factory
) -> None:
    account = make.account()
    other = send(services, account, jsonl(lines_for(make.image(account).id, 1)))
    taken = services.batch_upkeep.take_next()
    assert taken is not None
    found = tender_of(services)._next_slice(taken, taken.object_key or "")
    services.batches.create_checked(account, "bat_" + "1" * 32, NewBatch(), found.items, [])
    assert services.batches.get(account, "bat_" + "1" * 32)[0].status is BatchState.RUNNING
    lost = [replace(item, spec=replace(item.spec, image="img_gone")) for item in found.items]
    with pytest.raises(InvalidRequest) as refused:
        services.batches.create_checked(account, "bat_" + "2" * 32, NewBatch(), lost, [])
    assert [(v.line, v.code) for v in refused.value.violations] == [(1, "image_not_found")]
    with pytest.raises(NotFound):
        services.batches.get(account, "bat_" + "2" * 32)
    assert now(services, other).status is BatchState.VALIDATING


def test_batches_are_forgotten_with_their_items_past_the_retention_of_jobs(
    services: Services, make: Factory
) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 3)))
    tend(services)
    run_all(services)
    sweep(services)
    assert now(services, batch).object_key is None
    with services.database.writing() as connection:
        connection.execute(update(batches).values(finished_at=1))
    sweep(services)
    with pytest.raises(NotFound):
        now(services, batch)
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(batch_items)) == 0


def test_a_job_that_outlives_its_batch_still_ends(services: Services, make: Factory) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 1)))
    tend(services)
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    with services.database.writing() as connection:
        connection.execute(batches.delete().where(batches.c.id == batch.id))
    assert services.leases.succeed(job, a_result(job))


def test_an_accounts_batches_go_with_it(services: Services, make: Factory) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 3)))
    tend(services)
    with services.database.reading() as connection:
        called = connection.scalar(select(accounts.c.name).where(accounts.c.id == account))
    removed = services.account_deletion.delete(str(called))
    assert removed.batches == 1
    with pytest.raises(NotFound):
        services.objects.get(batch.object_key or "")

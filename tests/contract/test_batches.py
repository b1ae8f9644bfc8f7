"""The life of a batch on both databases: accepted, run a window at a time, ended once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import func, select, update

from shared.accounts.tables import accounts
from shared.batches.batch import MAX_UNREAD, NewBatch
from shared.batches.state import BatchState
from shared.batches.tables import batch_items, batches
from shared.errors import (
    ImageInUse,
    InvalidRequest,
    NotFound,
    TooManyQueued,
    Violation,
)
from shared.images.tables import images
from shared.services import Services
from tests.batches import (
    PIXELS,
    a_line,
    charged,
    count_jobs,
    fail,
    jsonl,
    lines_for,
    now,
    results_of,
    run_all,
    send,
    tend,
    tender_of,
    told,
)
from tests.crowd import in_threads
from tests.factories import Factory, a_result, history, let_pass
from worker.sweep import sweep


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


def test_accounts_take_turns_however_many_batches_one_has(
    services: Services, make: Factory
) -> None:
    many, one = make.account(), make.account()
    for account in (many, many, many, one):
        send(services, account, jsonl(lines_for(make.image(account).id, 1)))
    alone = send(services, many, jsonl([{}]))  # over in its only turn, which counts
    turns = []
    for _ in range(6):
        batch = services.batch_upkeep.take_next()
        assert batch is not None
        turns.append(batch.account_id)
        if batch.id == alone.id:
            services.batch_upkeep.refuse(batch, Violation("", "batch_empty", "nothing"))
        services.batch_upkeep.let_go(batch)
        let_pass(services.database, 0.01)
    assert turns[:2] in ([many, one], [one, many])
    assert turns.count(one) == 3


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

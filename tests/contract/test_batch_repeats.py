"""What of a batch runs again, and what an earlier result answers, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.batches.state import BatchState
from shared.errors import (
    BatchNotFinal,
    NothingToRetry,
)
from shared.services import Services
from tests.batches import (
    PIXELS,
    a_line,
    charged,
    fail,
    jsonl,
    lines_for,
    now,
    results_of,
    run_all,
    send,
    tend,
    told,
)
from tests.factories import Factory
from tests.kept import come_up, run_next


def test_a_retry_leaves_out_what_no_engine_here_can_run(services: Services, make: Factory) -> None:
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 2)))
    tend(services)
    run_all(services, fail(services))
    again = services.batches.retry(account, batch.id, engines=["lightningdrag"])
    assert (again.counts["invalid"], again.status) == (2, BatchState.COMPLETED)
    _, invalid = services.batches.get(account, again.id)
    assert {v.code for each in invalid for v in each.violations} == {"engine_unavailable"}


def test_a_retry_of_more_than_a_slice_is_copied_by_workers(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.batches.again.COPIED", 2)
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 5)))
    tend(services)
    run_all(services, fail(services), limit=4)
    run_all(services)
    again = services.batches.retry(account, batch.id)
    assert (again.status, again.counts["total"]) == (BatchState.VALIDATING, 2)
    assert not services.batch_upkeep.copy(again, ["warp"])
    halfway = now(services, again)
    assert (halfway.status, halfway.counts["queued"]) == (BatchState.VALIDATING, 4)
    tend(services)  # as if whoever copied had died there
    run_all(services)
    assert now(services, again).status is BatchState.COMPLETED
    wanted = [(f"item {n}", "succeeded") for n in range(1, 5)]
    assert results_of(services, again) == wanted
    assert services.batch_upkeep.copy(again, ["warp"]), "it is over"


def test_a_long_retry_is_rejected_when_the_month_has_too_few_pixels(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.batches.again.COPIED", 2)
    account = make.account()
    batch = send(services, account, jsonl(lines_for(make.image(account).id, 3)))
    tend(services)
    run_all(services, fail(services))
    again = services.batches.retry(account, batch.id)
    services.batch_upkeep._defaults = replace(services.batch_upkeep._defaults, pixels_per_month=1)
    tend(services)
    _, errors = services.batches.get(account, again.id)
    assert now(services, again).status is BatchState.REJECTED
    (error,) = errors
    assert (error.line, error.violations[0].code) == (0, "pixel_quota_exceeded")


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

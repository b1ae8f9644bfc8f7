"""The lines of a batch on both databases: read slice by slice, each good or named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from shared.batches import rows
from shared.batches.state import BatchState
from shared.batches.tables import batch_items
from shared.errors import (
    StorageUnavailable,
)
from shared.services import Services
from tests.batches import (
    DRAG,
    PIXELS,
    a_line,
    charged,
    count_jobs,
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
from tests.factories import Factory, let_pass
from worker.sweep import sweep


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


def test_the_last_line_counts_when_it_has_no_end(services: Services, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    batch = send(services, account, jsonl(lines_for(image, 2)).rstrip(b"\n"))
    tend(services)
    assert now(services, batch).counts["queued"] == 2


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

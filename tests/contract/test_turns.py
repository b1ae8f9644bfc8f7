"""Whose turn it is: accounts take turns, then priority, then age; and what `places` promises."""

from __future__ import annotations

import random

import pytest

from shared.edits import Priority
from shared.services import Services
from tests.factories import Factory, let_pass


def _claim_all(services: Services) -> list[str]:
    order = []
    while job := services.leases.claim_next("warp", "worker"):
        order.append(job.id)
    return order


def test_accounts_take_turns_when_one_has_far_more_jobs(services: Services, make: Factory) -> None:
    busy, other = make.account(), make.account()
    image, others = make.image(busy).id, make.image(other).id
    many = [make.job(busy, image=image).id for _ in range(6)]
    few = [make.job(other, image=others).id for _ in range(2)]
    order = _claim_all(services)
    assert sorted(order[:4]) == sorted(many[:2] + few)
    assert {*order[:2]} == {many[0], few[0]}
    assert order[4:] == many[2:]


def test_a_newcomer_goes_next_when_others_have_had_many_turns(
    services: Services, make: Factory
) -> None:
    busy = make.account()
    image = make.image(busy).id
    for _ in range(10):
        make.job(busy, image=image)
    for _ in range(4):
        services.leases.claim_next("warp", "worker")
    newcomer = make.job()
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    assert job.id == newcomer.id


def test_an_account_saves_up_no_turns_when_it_was_away(services: Services, make: Factory) -> None:
    away, busy = make.account(), make.account()
    images = {account: make.image(account).id for account in (away, busy)}
    make.job(away, image=images[away])
    for _ in range(8):
        make.job(busy, image=images[busy])
    for _ in range(5):
        services.leases.claim_next("warp", "worker")
    for _ in range(4):
        make.job(away, image=images[away])
    owners = []
    while job := services.leases.claim_next("warp", "worker"):
        owners.append(job.account_id)
    assert owners == [away, busy] * 4


def test_priority_then_age_decides_inside_an_account_and_not_between_accounts(
    services: Services, make: Factory
) -> None:
    account, other = make.account(), make.account()
    image = make.image(account).id
    kinds = [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL, Priority.HIGH]
    ids = [make.job(account, image=image, priority=kind).id for kind in kinds]
    patient = make.job(other, priority=Priority.LOW).id
    order = _claim_all(services)
    assert [j for j in order if j != patient] == [ids[2], ids[4], ids[1], ids[3], ids[0]]
    assert order.index(patient) <= 1


def test_engines_do_not_share_turns(services: Services, make: Factory) -> None:
    account, other = make.account(), make.account()
    image = make.image(account).id
    for _ in range(3):
        make.job(account, image=image, engine="another")
    for _ in range(3):
        services.leases.claim_next("another", "worker")
    first, second = make.job(account, image=image), make.job(other)
    ids = [first.id, second.id]
    assert sorted(_claim_all(services)) == sorted(ids)


def test_an_account_that_waits_for_a_retry_holds_nobody_up(
    services: Services, make: Factory
) -> None:
    waiting, other = make.account(), make.account()
    job = make.running(waiting)
    from shared.errors import StorageUnavailable

    services.leases.fail_or_requeue(job, StorageUnavailable("away"))
    next_one = make.job(other)
    claimed = services.leases.claim_next("warp", "worker")
    assert claimed is not None
    assert claimed.id == next_one.id
    let_pass(services.database, 3)
    again = services.leases.claim_next("warp", "worker")
    assert again is not None
    assert again.id == job.id


@pytest.mark.parametrize("seed", range(6))
def test_no_job_starts_later_than_its_place_says_when_nothing_new_comes(
    services: Services, make: Factory, seed: int
) -> None:
    rng = random.Random(seed)
    owners = [make.account() for _ in range(rng.randint(1, 4))]
    images = {account: make.image(account).id for account in owners}
    for _ in range(rng.randint(0, 8)):  # some have had turns before
        owner = rng.choice(owners)
        make.job(owner, image=images[owner])
        services.leases.claim_next("warp", "worker")
    jobs = []
    for _ in range(rng.randint(1, 14)):
        owner = rng.choice(owners)
        priority = rng.choice(list(Priority))
        jobs.append(make.job(owner, image=images[owner], priority=priority))
    promised: dict[str, int] = {}
    for owner in owners:
        own = [job.id for job in jobs if job.account_id == owner]
        promised |= services.jobs.places(owner, "warp", own)
    order = _claim_all(services)
    assert promised.keys() == set(order)
    rivals = len({job.account_id for job in jobs}) - 1
    for place, job_id in enumerate(order):
        assert place <= promised[job_id] <= place + rivals


def test_a_place_is_told_for_queued_jobs_of_that_account_and_engine_alone(
    services: Services, make: Factory
) -> None:
    account = make.account()
    running, queued, stranger = make.running(account), make.job(account), make.job()
    ids = [running.id, queued.id, stranger.id, "job_none"]
    assert services.jobs.places(account, "warp", ids) == {queued.id: 1}
    assert services.jobs.places(account, "another", ids) == {}
    assert services.jobs.places(account, "warp", []) == {}

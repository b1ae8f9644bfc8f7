"""Whose turn it is: accounts take turns, then priority, then age; and what `places` promises."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import select

from shared.db import Database
from shared.edits import Priority
from shared.errors import StorageUnavailable
from shared.jobs.tables import job_events, jobs, turns
from shared.jobs.turns import enter_line
from shared.services import Services
from tests.crowd import in_threads
from tests.crowded import Crowd, name_of
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


def test_a_single_job_waits_for_one_other_when_an_account_has_five_thousand_queued(
    services: Services, make: Factory
) -> None:
    crowd = Crowd(services.database)
    crowd.accounts(1)
    crowd.jobs("queued", 5000)
    for _ in range(3):
        services.leases.claim_next("warp", "worker")
    newcomer = make.job()
    claimed = [services.leases.claim_next("warp", "worker") for _ in range(2)]
    assert newcomer.id in [job.id for job in claimed if job]
    again = make.job(newcomer.account_id, image=newcomer.spec.image)  # no newcomer any more
    claimed = [services.leases.claim_next("warp", "worker") for _ in range(2)]
    assert again.id in [job.id for job in claimed if job]


WORKERS = 4
FEW = 30  #: on an idle machine as many as there are workers; one that is held up lets others pass


def test_a_single_job_waits_for_few_others_when_many_workers_claim_at_once(
    services: Services, make: Factory
) -> None:
    """For those that were being claimed as it came, not for all that are queued; by the events."""
    busy = make.account()
    image = make.image(busy).id
    for _ in range(150):
        make.job(busy, image=image)
    newcomers = [make.image(make.account()) for _ in range(4)]
    submitted: list[str] = []

    def work(worker: str) -> None:
        while services.leases.claim_next("warp", worker):
            pass

    def submit() -> None:
        for newcomer in newcomers:
            submitted.append(make.job(newcomer.account_id, image=newcomer.id).id)

    workers = [(lambda n=n: work(f"worker-{n}"),) for n in range(WORKERS)]
    in_threads(lambda call: call(), [*workers, (submit,)])
    _claim_all(services)  # a newcomer that came last
    with services.database.reading() as connection:
        events = connection.execute(select(job_events.c.job_id).order_by(job_events.c.id)).all()
    order = [event.job_id for event in events]
    for job_id in submitted:
        came, claimed = (at for at, each in enumerate(order) if each == job_id)
        others = [each for each in order[came + 1 : claimed] if each not in submitted]
        assert len(others) <= FEW


def _in_line(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.scalars(select(turns.c.account_id).order_by(turns.c.served_at)))


def test_accounts_leave_the_head_of_the_line_when_they_have_nothing_queued(
    services: Services, make: Factory
) -> None:
    crowd = Crowd(services.database)
    crowd.accounts(450)  # all had a turn, none has a job
    busy = make.account()
    image = make.image(busy).id
    make.job(busy, image=image)
    for _ in range(2):  # others are served after it
        make.job()
    with services.database.writing() as connection:
        connection.execute(turns.update().where(turns.c.account_id == busy).values(served_at=1000))
    _claim_all(services)
    make.job(busy, image=image)
    services.upkeep.shorten_lines()
    line = _in_line(services.database)
    assert line[0] == busy
    assert not set(line) & {name_of(n) for n in range(450)}
    returned = make.job(name_of(7))
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    assert job.id == returned.id


def test_an_account_keeps_its_place_when_others_still_wait_before_it(
    services: Services, make: Factory
) -> None:
    """One that sends its next job as soon as the last was claimed gets no turn out of order."""
    patient, eager = make.account(), make.account()
    images = {account: make.image(account).id for account in (patient, eager)}
    for _ in range(6):
        make.job(patient, image=images[patient])
    owners = []
    for _ in range(6):
        make.job(eager, image=images[eager])
        job = services.leases.claim_next("warp", "worker")
        assert job is not None
        owners.append(job.account_id)
        services.upkeep.shorten_lines()
    assert owners.count(eager) == owners.count(patient) == 3


def test_an_account_stands_in_line_again_when_its_running_job_is_put_back(
    services: Services, make: Factory
) -> None:
    given, failed, lost = (make.running(timeout_s=86_400) for _ in range(3))
    services.upkeep.shorten_lines()
    assert _in_line(services.database) == []
    services.leases.give_back(given)
    services.leases.fail_or_requeue(failed, StorageUnavailable("away"))
    let_pass(services.database, services.settings.lease_s + 1)
    services.upkeep.take_back_expired_leases()
    assert {job.account_id for job in (given, failed, lost)} == set(_in_line(services.database))
    assert len(_claim_all(services)) == 3


def test_no_job_is_left_outside_the_line_when_lines_are_shortened_meanwhile(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id

    def submit() -> None:
        for _ in range(15):
            make.job(account, image=image)

    def work() -> int:
        claimed = 0
        for _ in range(40):
            claimed += services.leases.claim_next("warp", "worker") is not None
            services.upkeep.shorten_lines()
        return claimed

    done = in_threads(lambda call: call(), [(submit,), (submit,), (work,), (work,)])
    assert sum(filter(None, done)) + len(_claim_all(services)) == 30


@pytest.fixture
def on_postgres(database: Database) -> Database:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    return database


def test_a_claim_passes_over_what_a_rival_is_claiming_and_waits_for_nobody(
    on_postgres: Database, services: Services, make: Factory
) -> None:
    first, second = make.account(), make.account()
    images = {account: make.image(account).id for account in (first, second)}
    ids = [make.job(account, image=images[account]).id for account in (first, second, second)]
    with on_postgres.writing() as rival:
        place = turns.c.account_id == first
        rival.execute(select(turns).where(place).with_for_update(key_share=True))
        rival.execute(select(jobs).where(jobs.c.id == ids[0]).with_for_update())
        assert _claim_all(services) == ids[1:]
        make.job(first, image=images[first])  # submitting does not wait for it either
        assert len(_claim_all(services)) == 1  # its account's turn is shared
    assert _claim_all(services) == [ids[0]]


def test_a_line_is_not_shortened_while_a_submission_is_under_way(
    on_postgres: Database, services: Services, make: Factory
) -> None:
    account = make.running().account_id
    with on_postgres.writing() as submission:
        enter_line(submission, "warp", account)
        services.upkeep.shorten_lines()
        assert _in_line(services.database) == [account]
    services.upkeep.shorten_lines()
    assert _in_line(services.database) == []


def test_every_claim_gets_a_job_when_many_workers_share_one_account(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    for _ in range(32):
        make.job(account, image=image)
    claimed = in_threads(
        lambda n: [services.leases.claim_next("warp", f"worker-{n}") for _ in range(4)],
        [(n,) for n in range(8)],
    )
    ids = [job.id for those in claimed for job in those if job is not None]
    assert len(ids) == len(set(ids)) == 32

"""Many workers and many sweeps at once, in threads and in processes: each job moves once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import event, func, select

from shared.edits import MaskImage
from shared.errors import ImageInUse, InvalidRequest
from shared.jobs.state import JobState
from shared.jobs.tables import job_events, jobs
from shared.services import Services, build_services
from shared.settings import Settings
from tests.crowd import in_processes, in_threads
from tests.factories import Factory, a_result, a_spec, history, let_pass
from worker.sweep import sweep

InCrowd = Callable[[Callable[..., Any], list[tuple[Any, ...]]], list[Any]]
crowds = pytest.mark.parametrize(
    "in_crowd",
    [in_threads, pytest.param(in_processes, marks=pytest.mark.slow)],
    ids=["threads", "processes"],
)


def _claim_all(given: dict[str, Any], worker: str) -> list[tuple[str, int]]:
    """Claim and finish until nothing is due; the jobs and attempts that were ours."""
    services = build_services(Settings(**given))
    claimed = []
    while job := services.leases.claim_next("warp", worker):
        claimed.append((job.id, job.attempt))
        assert services.leases.succeed(job, a_result(job))
    services.database.close()
    return claimed


@crowds
def test_no_job_is_claimed_twice_when_many_claim_at_once(
    services: Services, make: Factory, in_crowd: InCrowd
) -> None:
    accounts = [make.account() for _ in range(3)]
    images = {account: make.image(account).id for account in accounts}
    count = 60 if in_crowd is in_threads else 200
    ids = {make.job(accounts[n % 3], image=images[accounts[n % 3]]).id for n in range(count)}
    given = services.settings.model_dump()
    claims = in_crowd(_claim_all, [(given, f"worker-{n}") for n in range(4)])
    claimed = [claim for those in claims for claim in those]
    assert Counter(claimed) == Counter((job_id, 1) for job_id in ids)
    for job_id in ids:
        assert history(services.database, job_id) == ["queued", "running", "succeeded"]


def _sweep(given: dict[str, Any]) -> None:
    services = build_services(Settings(**given))
    for _ in range(3):
        sweep(services)
    services.database.close()


@crowds
def test_every_job_moves_once_when_many_sweeps_run_at_once(
    services: Services, make: Factory, in_crowd: InCrowd
) -> None:
    account = make.account()
    image = make.image(account).id
    lost = [make.job(account, image=image, timeout_s=86_400) for _ in range(20)]
    while services.leases.claim_next("warp", "worker"):
        pass
    late = [make.job(account, image=image, expires_in_s=10) for _ in range(20)]
    let_pass(services.database, 700)
    sweepers = 8 if in_crowd is in_threads else 3
    in_crowd(_sweep, [(services.settings.model_dump(),)] * sweepers)
    for job in lost:
        assert services.jobs.get(account, job.id).losses == 1
        assert history(services.database, job.id) == ["queued", "running", "queued"]
    for job in late:
        assert history(services.database, job.id) == ["queued", "expired"]


def test_a_lease_is_lost_or_renewed_and_never_both_when_heartbeat_and_sweep_meet(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    for _ in range(10):
        job = make.running(account, image=image, timeout_s=86_400)
        let_pass(services.database, 601)
        pulse, taken = in_threads(
            lambda call: call(),
            [
                (lambda job=job: services.leases.heartbeat(job, 1, 2),),
                (services.upkeep.take_back_expired_leases,),
            ],
        )
        after = services.jobs.get(account, job.id)
        assert pulse.is_lost == bool(taken) == (after.status is JobState.QUEUED)
        services.jobs.cancel(account, job.id)
        services.leases.cancel(job)


def test_a_job_ends_once_when_its_cancel_and_its_claim_meet(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    for _ in range(10):
        job = make.job(account, image=image)
        _, claimed = in_threads(
            lambda call: call(),
            [
                (lambda job=job: services.jobs.cancel(account, job.id),),
                (lambda: services.leases.claim_next("warp", "worker"),),
            ],
        )
        after = services.jobs.get(account, job.id)
        if claimed is None:
            assert after.status is JobState.CANCELED
        else:
            assert services.leases.heartbeat(claimed, 0, None).is_cancel_requested
            assert services.leases.cancel(claimed)
        assert history(services.database, job.id).count("canceled") == 1


@contextmanager
def _in_the_middle(
    services: Services, statement: str, call: Callable[[], object]
) -> Iterator[threading.Thread]:
    """`call` begins just before the statement that says this; it ends then, or waits for it."""
    thread = threading.Thread(target=call)

    def meet(_: object, __: object, said: str, *___: object) -> None:
        if statement in said and thread.ident is None:
            thread.start()
            thread.join(0.3)

    event.listen(services.database.engine, "before_cursor_execute", meet)
    yield thread
    event.remove(services.database.engine, "before_cursor_execute", meet)
    thread.join()


def test_a_cancel_is_not_lost_when_the_job_goes_back_to_the_queue_at_that_moment(
    services: Services, make: Factory
) -> None:
    job = make.running()

    def go_back() -> None:
        services.leases.give_back(job)

    with _in_the_middle(services, "UPDATE jobs SET cancel_requested_at=", go_back) as thread:
        services.jobs.cancel(job.account_id, job.id)
    assert thread.ident is not None
    assert services.jobs.get(job.account_id, job.id).status is JobState.CANCELED


def test_a_job_does_not_go_back_to_the_queue_when_it_is_canceled_at_that_moment(
    services: Services, make: Factory
) -> None:
    job = make.running()

    def cancel() -> None:
        services.jobs.cancel(job.account_id, job.id)

    with _in_the_middle(services, "worker_id=", cancel) as thread:
        services.leases.give_back(job)
    assert thread.ident is not None
    assert services.jobs.get(job.account_id, job.id).status is JobState.CANCELED
    assert history(services.database, job.id).count("running") == 1


def test_there_is_one_event_for_each_move_when_everything_has_happened_at_once(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id

    def live(n: int) -> None:
        for _ in range(4):
            make.job(account, image=image, timeout_s=86_400)
            job = services.leases.claim_next("warp", f"worker-{n}")
            if job is None:
                continue
            if n % 3 == 0:
                services.leases.succeed(job, a_result(job))
            elif n % 3 == 1:
                services.leases.give_back(job)
            else:
                services.jobs.cancel(account, job.id)
                services.leases.cancel(job)

    in_threads(live, [(n,) for n in range(6)])
    with services.database.reading() as connection:
        query = select(jobs.c.id, jobs.c.attempt, jobs.c.status)
        rows = connection.execute(query).all()
        events = connection.scalar(select(func.count()).select_from(job_events))
    walked = 0
    for row in rows:
        states = history(services.database, row.id)
        walked += len(states)
        assert states[0] == "queued"
        assert states[-1] == row.status
        assert states.count("running") == row.attempt
        assert all(a != b for a, b in pairwise(states))
        assert not any(JobState(state).is_final for state in states[:-1])
    assert walked == events


def test_no_job_is_promised_an_image_that_is_deleted_at_the_same_moment(
    services: Services, make: Factory
) -> None:
    account = make.account()

    def submit(image: str, mask: str) -> bool:
        try:
            services.jobs.submit(account, a_spec(image, mask=MaskImage(mask)), {})
        except InvalidRequest:
            return False
        return True

    def delete(image: str) -> bool:
        try:
            services.images.delete(account, image)
        except ImageInUse:
            return False
        return True

    seen = Counter()
    for n in range(30):
        picture, mask = make.image(account).id, make.image(account).id
        doomed = (picture, mask)[n % 2]
        is_promised, is_deleted = in_threads(
            lambda call, *ids: call(*ids), [(submit, picture, mask), (delete, doomed)]
        )
        assert is_promised != is_deleted
        seen[is_promised] += 1
    assert seen.total() == 30


def test_no_job_is_promised_an_image_that_a_sweep_forgets_at_the_same_moment(
    services: Services, make: Factory
) -> None:
    account = make.account()

    def submit(image: str) -> bool:
        try:
            services.jobs.submit(account, a_spec(image), {})
        except InvalidRequest:
            return False
        return True

    for _ in range(10):
        ids = [make.image(account).id for _ in range(4)]
        let_pass(services.database, 31 * 86_400)
        done = in_threads(
            lambda call, *given: call(*given),
            [*((submit, image) for image in ids), *[(services.images.forget_expired,)] * 3],
        )
        promised, forgotten = done[:4], {image.id for those in done[4:] for image in those}
        for image, is_promised in zip(ids, promised, strict=True):
            if is_promised:
                assert image not in forgotten
                assert services.images.get(account, image).id == image
            else:
                assert image in forgotten


def test_a_result_is_shown_as_it_was_recorded(services: Services, make: Factory) -> None:
    job = make.running()
    services.leases.succeed(job, a_result(job, "0.png", "1.png"))
    after = asdict(services.jobs.get(job.account_id, job.id))
    assert after["result"]["candidates"] == a_result(job, "0.png", "1.png")["candidates"]

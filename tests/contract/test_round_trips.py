"""What is done for every job is one statement where it can be: each is a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from shared.accounts.limits import UNLIMITED
from shared.audit.trail import Actor, act_as
from shared.edits import MaskImage
from shared.jobs.cache_keys import Contents
from shared.jobs.job import Job
from shared.services import Services
from tests.factories import Factory, a_result, a_spec, history, row_of
from tests.kept import a_kept_result, come_up, contents_of


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@contextmanager
def counted(services: Services) -> Iterator[list[str]]:
    """The statements that are sent while the block runs, less those that open or end something."""
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(services.database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(services.database.engine, "before_cursor_execute", note)


#: A submission holds its account and counts its pixels; somebody may want to know of an end.
MORE = {"submit": 3, "submit with a mask": 3, "succeed": 2}


def test_each_step_of_a_job_is_one_statement_or_a_few(services: Services, make: Factory) -> None:
    key = services.accounts.create_key("frequent")
    account = make.job(services.accounts.account_of(key.text)).account_id  # it is in the line now
    image, mask = make.image(account).id, make.image(account).id
    content = a_content(services)
    job: Job | None = None

    def claim() -> None:
        nonlocal job
        job = services.leases.claim_next("warp", "worker")

    def of_job(call: Callable[[Job], object]) -> Callable[[], None]:
        def made() -> None:
            assert job is not None
            assert call(job)

        return made

    steps: dict[str, Callable[[], object]] = {
        "who is it": lambda: services.accounts.account_of(key.text),
        "its image": lambda: services.images.get(account, image),
        "submit": lambda: services.jobs.submit(account, a_spec(image=image), {}),
        "submit over HTTP": lambda: submit_over_http(services, account, image),
        "submit with a seed over HTTP": lambda: submit_over_http(
            services, account, image, contents=content
        ),
        "submit with a seed and a mask over HTTP": lambda: submit_over_http(
            services, account, image, mask, contents=content
        ),
        "submit with a mask": lambda: make.job(account, image=image, mask=MaskImage(mask)),
        "claim": claim,
        "look": of_job(lambda job: services.jobs.get(account, job.id)),
        "heartbeat": of_job(lambda job: services.leases.heartbeat(job, 1, 8)),
        "succeed": of_job(lambda job: services.leases.succeed(job, a_result(job))),
        "place": lambda: services.jobs.places(account, "warp", ["job_none"]),
    }
    for name, step in steps.items():
        with counted(services) as sent:
            step()
        assert len(sent) == MORE.get(name, 1), (name, sent)


def submit_over_http(
    services: Services,
    account: str,
    image: str,
    mask: str | None = None,
    contents: Contents | None = None,
) -> Job:
    act_as(Actor("key", "k1", "r1"))
    spec = a_spec(image=image, mask=MaskImage(mask) if mask else None)
    try:
        return services.jobs.submit(account, spec, {}, limits=UNLIMITED, contents=contents)
    finally:
        act_as(None)


def a_content(services: Services) -> Contents:
    """That no result was made from; which model is up is known by now."""
    come_up(services)
    assert services.engines_up.model_of("warp")
    return Contents("f" * 64, None)


def test_a_job_is_promised_alike_by_one_statement_and_by_many(
    services: Services, make: Factory
) -> None:
    account = make.job().account_id
    image = make.image(account).id
    before = services.accounts.usage(account).pixels_per_month
    plain = submit_over_http(services, account, image)
    once = services.accounts.usage(account).pixels_per_month
    act_as(Actor("key", "k1", "r1"))
    try:
        by_many = services.jobs.submit(account, a_spec(image=image), {})
    finally:
        act_as(None)
    twice = services.accounts.usage(account).pixels_per_month
    assert twice - once == once - before == plain.pixels == by_many.pixels
    rows = [row_of(services.database, job.id) for job in (plain, by_many)]
    for row in rows:
        row.pop("id")
        row.pop("created_at")
    assert rows[0] == rows[1]
    assert history(services.database, plain.id) == ["queued"]
    entries = services.audit_log.page(account, limit=2)
    assert {entry.subject for entry in entries} == {plain.id, by_many.id}
    assert (
        len({(e.action, str(e.details), e.actor, e.actor_id, e.request_id) for e in entries}) == 1
    )


def test_a_claim_is_one_statement_beside_an_account_that_runs_all_it_may(
    services: Services, make: Factory
) -> None:
    full, other = make.account(), make.account()
    services.accounts.set_limits(services.accounts.get(full).name, {"running_jobs": 1})
    for account in (full, full, other, other):
        make.job(account)
    assert {services.leases.claim_next("warp", "w").account_id for _ in range(2)} == {full, other}  # type: ignore[union-attr]
    with counted(services) as sent:
        job = services.leases.claim_next("warp", "w")
    assert job is not None
    assert job.account_id == other
    assert len(sent) == 1, sent


def test_a_job_is_answered_by_an_earlier_result_where_it_would_have_been_one_statement(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image, mask = make.image(account).id, make.image(account).id
    for mask_id, spec in ((None, {}), (mask, {"mask": MaskImage(mask)})):
        kept = a_kept_result(services, account, image, **spec)
        contents = contents_of(services, account, kept.spec)
        job = submit_over_http(services, account, image, mask_id, contents)
        assert (job.status, job.origin_id) == ("succeeded", kept.id)

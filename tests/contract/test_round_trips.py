"""What is done for every job is one statement where it can be: each is a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from shared.edits import MaskImage
from shared.jobs.job import Job
from shared.services import Services
from tests.factories import Factory, a_result, a_spec


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


def test_each_step_of_a_job_is_one_statement(services: Services, make: Factory) -> None:
    key = services.accounts.create_key("frequent")
    account = make.job(services.accounts.account_of(key.text)).account_id  # it is in the line now
    image, mask = make.image(account).id, make.image(account).id
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
        assert len(sent) == 1, (name, sent)

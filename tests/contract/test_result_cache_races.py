"""Answers from earlier results meet deletions and sweeps: no row ever points to what is gone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection

from api.app import create_app
from shared.errors import NotFound
from shared.jobs.cache_keys import cache_key
from shared.jobs.cached import answer, earlier_result
from shared.jobs.job import Job
from shared.jobs.state import JobState
from shared.jobs.store import _new_row
from shared.services import Services
from tests.api.calling import Caller, caller_of
from tests.contract.test_races import _in_the_middle
from tests.contract.test_result_cache import (
    assert_all_is_well,
    delete,
    living,
    objects_of,
    pass_retention,
)
from tests.crowd import in_threads
from tests.factories import Factory, a_spec
from tests.kept import DIGEST, a_kept_result, come_up, contents_of, run_next, submit

ways = pytest.mark.parametrize("go", [delete, pass_retention])
Go = Callable[[Caller, Job], None]

ANSWERING = "INSERT INTO jobs (id, account_id, engine"
ASKING = "SELECT EXISTS (SELECT * \nFROM jobs \nWHERE jobs.origin_id"
PASSING_ON = "UPDATE jobs SET stored_bytes="


@pytest.fixture
def caller(services: Services) -> Caller:
    return caller_of(services)


@pytest.fixture
def image(make: Factory, caller: Caller) -> Any:
    return make.image(caller.account_id)


@pytest.fixture
def kept(services: Services, caller: Caller, image: Any) -> Job:
    return a_kept_result(services, caller.account_id, image.id)


@ways
def test_the_pictures_stay_when_their_job_goes_while_another_is_answered(
    services: Services, caller: Caller, image: Any, kept: Job, go: Go
) -> None:
    keys = objects_of(services, caller.account_id)
    with _in_the_middle(services, ANSWERING, lambda: go(caller, kept)) as thread:
        job = submit(services, caller.account_id, image.id)
    assert thread.ident is not None
    assert job.origin_id == kept.id
    assert objects_of(services, caller.account_id) == keys
    assert_all_is_well(services, caller.account_id, image.size_bytes)


@ways
def test_a_job_is_run_when_the_only_one_that_could_answer_it_goes_at_that_moment(
    services: Services, caller: Caller, image: Any, kept: Job, go: Go
) -> None:
    made: list[Job] = []

    def ask() -> None:
        made.append(submit(services, caller.account_id, image.id))

    with _in_the_middle(services, ASKING, ask) as thread:
        go(caller, kept)
    assert thread.ident is not None
    (job,) = made
    assert job.status is JobState.QUEUED
    assert_all_is_well(services, caller.account_id, image.size_bytes)


@ways
def test_the_next_of_two_answers_it_when_the_newest_goes_at_that_moment(
    services: Services, caller: Caller, image: Any, kept: Job, go: Go
) -> None:
    """One that goes is not waited for: on PostgreSQL it is passed over, SQLite has one writer."""
    newest = submit(services, caller.account_id, image.id)
    made: list[Job] = []

    def ask() -> None:
        made.append(submit(services, caller.account_id, image.id))

    moment = "DELETE FROM jobs WHERE" if go is delete else "UPDATE jobs SET stored_bytes="
    with _in_the_middle(services, moment, ask) as thread:
        go(caller, newest)
    assert thread.ident is not None
    (job,) = made
    assert job.origin_id == kept.id
    assert_all_is_well(services, caller.account_id, image.size_bytes)


@ways
def test_the_pictures_go_when_the_last_two_go_at_once(
    services: Services, caller: Caller, image: Any, kept: Job, go: Go
) -> None:
    heir = submit(services, caller.account_id, image.id)
    with _in_the_middle(services, PASSING_ON, lambda: go(caller, heir)) as thread:
        delete(caller, kept)
    assert thread.ident is not None
    assert living(services, caller.account_id) == []
    assert_all_is_well(services, caller.account_id, image.size_bytes)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_one_pays_when_the_heir_goes_and_another_has_come_by_it(
    services: Services, caller: Caller, image: Any, kept: Job
) -> None:
    """The heir is held by an answer that nobody sees yet, and two wait for it."""
    account = caller.account_id
    heir = submit(services, account, image.id)
    spec = a_spec(image.id)
    key = cache_key(account, spec, contents_of(services, account, spec), services.maker(DIGEST))
    assert key is not None
    going = [threading.Thread(target=delete, args=(caller, job)) for job in (heir, kept)]
    with services.database.writing() as connection:
        earlier = earlier_result(connection, account, key)
        assert earlier is not None
        assert earlier.id == heir.id
        values = {**_new_row(account, spec, {}, None), "of_key": key}
        late = answer(connection, earlier, values, retention_ms=86_400_000)
        for number, thread in enumerate(going, 1):
            thread.start()
            wait_for_locks(connection, number)
    for thread in going:
        thread.join(30)
        assert not thread.is_alive()
    (left,) = living(services, account)
    assert (left["id"], left["origin_id"]) == (late.id, kept.id)
    assert_all_is_well(services, account, image.size_bytes)


def wait_for_locks(connection: Connection, count: int) -> None:
    """Until so many wait for a row; the transaction that holds it is never idle for long."""
    query = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
    deadline_s = time.monotonic() + 20
    while connection.exec_driver_sql(query).scalar() != count:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
def test_rows_and_pictures_agree_when_everything_happens_at_once(
    services: Services, make: Factory, caller: Caller, seed: int
) -> None:
    """Three edits; each thread submits them, runs them, deletes what it meets, and sweeps."""
    account = caller.account_id
    images = [make.image(account) for _ in range(3)]
    come_up(services)
    for image in images:
        a_kept_result(services, account, image.id)
    app = create_app(services)

    def live(number: int) -> int:
        chance = random.Random(100 * seed + number)
        mine = Caller(app.test_client(), caller.key, account)
        answered = 0
        for turn in range(25):
            step = chance.random()
            if turn and step < 0.1:
                with suppress(NotFound):  # the same
                    run_next(services)
                continue
            if not turn or step < 0.55:  # nobody deletes before somebody was answered
                answered += submit(services, account, chance.choice(images).id).status.is_final
                continue
            final = services.jobs.page(account, limit=99, status=JobState.SUCCEEDED)
            if not final:
                continue
            job = chance.choice(final)
            if step < 0.85:
                mine.delete(f"/v1/jobs/{job.id}")
                continue
            with suppress(NotFound):  # a rival deleted it
                pass_retention(mine, job)
        return answered

    answered = in_threads(live, [(number,) for number in range(4)])
    assert sum(answered) > 0
    uploaded = sum(image.size_bytes for image in images)
    assert_all_is_well(services, account, uploaded)
    for job in services.jobs.page(account, limit=199, status=JobState.SUCCEEDED):
        delete(caller, job)
    assert objects_of(services, account) == []
    assert_all_is_well(services, account, uploaded)

"""Jobs as their owners see them, on a real database."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, func, insert, select

from shared.accounts.tables import accounts
from shared.db import Database
from shared.edits import MaskImage, Priority
from shared.errors import InvalidRequest, JobNotFinal, NotFound, TimedOut
from shared.jobs.state import JobState
from shared.jobs.tables import job_events, jobs
from shared.services import Services
from tests.factories import Factory, a_result, a_spec, history, row_of


def test_a_job_is_queued_with_one_event_when_it_is_submitted(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account)
    spec = a_spec(image.id, expires_in_s=60, priority=Priority.HIGH)
    job = services.jobs.submit(account, spec, {"order": "1234"})
    assert (job.status, job.attempt, job.losses, job.retries) == (JobState.QUEUED, 0, 0, 0)
    assert job.spec == spec
    assert job.metadata == {"order": "1234"}
    assert job.expires_at == job.created_at + 60_000
    assert services.jobs.get(account, job.id) == job
    assert history(services.database, job.id) == ["queued"]


def test_nothing_is_written_when_an_image_of_the_job_is_not_there(
    services: Services, make: Factory
) -> None:
    account, stranger = make.account(), make.account()
    mine, theirs = make.image(account), make.image(stranger)
    announced, _ = services.images.announce(
        account, sha256="f" * 64, content_type="image/png", size_bytes=1
    )
    for spec, pointer, code in [
        (a_spec("img_" + "0" * 32), "/image", "image_not_found"),
        (a_spec(theirs.id), "/image", "image_not_found"),
        (a_spec(announced.id), "/image", "image_not_uploaded"),
        (a_spec(mine.id, mask=MaskImage(theirs.id)), "/mask", "image_not_found"),
    ]:
        with pytest.raises(InvalidRequest) as caught:
            services.jobs.submit(account, spec, {})
        assert [(v.pointer, v.code) for v in caught.value.violations] == [(pointer, code)]
    assert services.jobs.page(account, limit=10) == []


def test_another_account_finds_no_job_whatever_it_does(services: Services, make: Factory) -> None:
    job, stranger = make.job(), make.account()
    before = row_of(services.database, job.id)
    for call in (services.jobs.get, services.jobs.cancel, services.jobs.delete):
        with pytest.raises(NotFound):
            call(stranger, job.id)
    assert services.jobs.page(stranger, limit=10) == []
    assert row_of(services.database, job.id) == before


def test_a_queued_job_is_canceled_at_once_and_once_when_it_is_asked_often(
    services: Services, make: Factory
) -> None:
    job = make.job()
    first = services.jobs.cancel(job.account_id, job.id)
    assert first.status is JobState.CANCELED
    assert first.finished_at is not None
    assert services.jobs.cancel(job.account_id, job.id) == first
    assert history(services.database, job.id) == ["queued", "canceled"]
    assert services.leases.claim_next("warp", "worker") is None


def test_a_running_job_is_only_asked_to_stop_when_it_is_canceled(
    services: Services, make: Factory
) -> None:
    job = make.running()
    first = services.jobs.cancel(job.account_id, job.id)
    assert first.status is JobState.RUNNING
    assert first.cancel_requested_at is not None
    assert services.jobs.cancel(job.account_id, job.id) == first
    assert history(services.database, job.id) == ["queued", "running"]


def test_a_final_job_stays_as_it_is_when_it_is_canceled(services: Services, make: Factory) -> None:
    job = make.running()
    services.leases.succeed(job, a_result(job))
    before = row_of(services.database, job.id)
    assert services.jobs.cancel(job.account_id, job.id).status is JobState.SUCCEEDED
    assert row_of(services.database, job.id) == before


def test_a_job_is_deleted_with_its_events_only_when_it_is_final(
    services: Services, make: Factory
) -> None:
    job = make.job()
    with pytest.raises(JobNotFinal):
        services.jobs.delete(job.account_id, job.id)
    running = services.leases.claim_next("warp", "worker")
    assert running is not None
    with pytest.raises(JobNotFinal):
        services.jobs.delete(job.account_id, job.id)
    services.leases.fail(running, TimedOut("over"))
    assert services.jobs.delete(job.account_id, job.id).job.status is JobState.FAILED
    with pytest.raises(NotFound):
        services.jobs.get(job.account_id, job.id)
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(job_events)) == 0


def test_pages_have_every_job_once_and_the_newest_first_when_they_are_walked(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image = make.image(account).id
    ids = [make.job(account, image=image).id for _ in range(7)]
    make.job()  # a stranger's
    seen: list[str] = []
    while page := services.jobs.page(account, limit=3, before=seen[-1] if seen else None):
        assert len(page) <= 3
        seen += [job.id for job in page]
        make.job(account, image=image)  # a newer one shifts nothing
    assert seen == ids[::-1]


@pytest.mark.parametrize("cursor", ["", "job_", "zzz", "'; DROP TABLE jobs; --", "job_ÿ", "%"])
def test_a_page_is_empty_or_whole_and_nothing_breaks_when_the_cursor_is_garbage(
    services: Services, make: Factory, cursor: str
) -> None:
    job = make.job()
    page = services.jobs.page(job.account_id, limit=10, before=cursor)
    assert [j.id for j in page] in ([], [job.id])


def test_a_page_has_only_jobs_of_a_state_when_one_is_given(
    services: Services, make: Factory
) -> None:
    account = make.account()
    running, queued = make.running(account), make.job(account)
    ids = {
        state: [job.id for job in services.jobs.page(account, limit=9, status=state)]
        for state in JobState
    }
    assert ids[JobState.RUNNING] == [running.id]
    assert ids[JobState.QUEUED] == [queued.id]
    assert sum(map(len, ids.values())) == 2


HOSTILE_KEYS = [
    "order", "", " ", "a.b", "$.order", "$", "order[0]", '"', 'a"b', 'a\\"b', "'", "a'b", "\\",
    "a\\", "üñí", "鍵", "\U0001f511", "%", "_", "*", "0", "-1", "null", "a\nb", "k" * 64,
    "'; DROP TABLE jobs; --", '") OR 1=1 --', "[#-1]",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_a_metadata_filter_finds_just_its_job_when_the_key_is_hostile(
    services: Services, make: Factory, key: str
) -> None:
    account = make.account()
    image = make.image(account).id
    job = make.job(account, {key: "yes", "other": "no"}, image=image)
    make.job(account, {key: "no"}, image=image)
    make.job(account, {"another": "yes"}, image=image)

    def found(metadata: dict[str, str]) -> list[str]:
        return [j.id for j in services.jobs.page(account, limit=10, metadata=metadata)]

    assert found({key: "yes"}) == [job.id]
    assert found({key: "yes", "other": "no"}) == [job.id]
    assert found({key: "yes", "other": "yes"}) == []
    assert found({key: "YES"}) == []


@pytest.mark.parametrize("value", ["", "1", "true", "null", '"', "ü", "%", "v" * 512, "a\\u0041"])
def test_a_metadata_filter_compares_texts_when_the_value_looks_like_something_else(
    services: Services, make: Factory, value: str
) -> None:
    job = make.job(metadata={"k": value})
    assert services.jobs.page(job.account_id, limit=9, metadata={"k": value}) == [job]
    assert services.jobs.page(job.account_id, limit=9, metadata={"k": value + "x"}) == []


def test_a_metadata_filter_finds_nothing_when_no_job_has_the_key(
    services: Services, make: Factory
) -> None:
    job = make.job()
    for value in ("", "null", "None"):
        assert services.jobs.page(job.account_id, limit=9, metadata={"k" * 5000: value}) == []


def test_those_that_ended_or_are_gone_are_told_when_some_are_waited_for(
    services: Services, make: Factory
) -> None:
    account = make.account()
    gone = make.job(account)
    services.jobs.cancel(account, gone.id)
    services.jobs.delete(account, gone.id)
    canceled = make.job(account)
    services.jobs.cancel(account, canceled.id)
    running = make.running(account)
    queued = make.job(account)
    everything = [gone.id, canceled.id, running.id, queued.id]
    assert services.jobs.final_among(everything) == {gone.id, canceled.id}
    assert services.jobs.final_among([]) == set()


def test_a_job_keeps_its_result_and_no_error_is_null_in_json_when_it_has_none(
    services: Services, make: Factory
) -> None:
    job = make.job()
    with services.database.reading() as connection:
        query = select(func.count()).where(jobs.c.result.is_(None), jobs.c.error.is_(None))
        assert connection.scalar(query) == 1
    assert (job.result, job.error) == (None, None)


def test_everything_of_an_account_goes_with_it_when_it_is_deleted(
    services: Services, make: Factory
) -> None:
    job = make.running()
    with services.database.writing() as connection:
        connection.execute(delete(accounts).where(accounts.c.id == job.account_id))
    for table in ("jobs", "job_events", "images", "turns", "api_keys"):
        with services.database.reading() as connection:
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0  # noqa: S608


def test_a_transaction_leaves_nothing_when_an_exception_leaves_it(database: Database) -> None:
    values = {"id": "acc_1", "name": "n", "created_at": 0}

    def write_and_fail() -> None:
        with database.writing() as connection:
            connection.execute(insert(accounts).values(values))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(accounts)) == 0

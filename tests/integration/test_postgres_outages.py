"""PostgreSQL is stopped and killed under the service: it says so, loses nothing, and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import select
from werkzeug.test import TestResponse

from shared import db
from shared.errors import DatabaseUnavailable
from shared.jobs.leases import LeaseStore
from shared.jobs.state import JobState
from shared.jobs.tables import jobs
from shared.services import Services
from tests.api.calling import caller_of, is_problem
from tests.crew import Crew, wait_until
from tests.crowd import in_threads
from tests.engines import ActingEngine
from tests.factories import Factory, a_result, history
from tests.servers.postgres import Postgres
from worker.claims import Claims
from worker.run_job import Workplace, run, run_next_job
from worker.solo import Solo
from worker.sweep import sweep
from worker.watch import Drain, Heart

pytestmark = pytest.mark.slow
AWAY_S = 1.0


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    """The server of the session, which runs again afterwards."""
    yield postgres
    postgres.ensure()


def _is_unavailable(answer: TestResponse) -> bool:
    assert is_problem(answer, 503, "database_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    return True


def test_the_api_is_unavailable_while_the_server_is_away_and_comes_back_by_itself(
    services: Services, server: Postgres
) -> None:
    caller = caller_of(services)
    body, job = caller.body(), caller.job()
    for end in (server.stop, server.kill):
        end()
        begun_s = time.monotonic()
        assert _is_unavailable(caller.get(f"/v1/jobs/{job['id']}"))
        assert _is_unavailable(caller.post("/v1/jobs", json=body))
        assert caller.client.get("/livez").status_code == 200
        assert caller.client.get("/readyz").status_code == 503
        assert time.monotonic() - begun_s < 5
        server.start()
        assert caller.get(f"/v1/jobs/{job['id']}").json["status"] == "queued"
        assert caller.post("/v1/jobs", json=body).status_code == 202
        assert caller.client.get("/readyz").json["checks"]["database"]["ok"]


def test_requests_are_unavailable_when_every_connection_of_the_pool_is_taken(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = caller_of(services)
    job = caller.job()
    pool = services.database.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.2)
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(services.database.reading())
        answers = in_threads(caller.get, [(f"/v1/jobs/{job['id']}",)] * 4)
        assert all(map(_is_unavailable, answers))
    assert caller.get(f"/v1/jobs/{job['id']}").status_code == 200


def test_a_connection_that_the_server_ended_is_replaced_before_it_is_used(
    services: Services, make: Factory, server: Postgres
) -> None:
    job = make.job()
    with ExitStack() as held:  # several connections, all of which have been used just now
        for _ in range(3):
            held.enter_context(services.database.reading())
    ours = "FROM pg_stat_activity WHERE application_name = 'towline'"
    with psycopg.connect(server.url(), autocommit=True) as outside:
        outside.execute(f"SELECT pg_terminate_backend(pid) {ours}".encode())
        wait_until(lambda: outside.execute(f"SELECT 1 {ours}".encode()).fetchone() is None)
    for _ in range(5):
        assert services.jobs.get(job.account_id, job.id) == job
    assert services.leases.claim_next("warp", "worker") is not None


def test_a_connection_is_tried_before_it_is_used_when_it_idled(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make.job()
    tried: list[object] = []
    ping = services.database.engine.dialect.do_ping

    def note(connection: object) -> bool:
        tried.append(connection)
        return ping(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(services.database.engine.dialect, "do_ping", note)
    services.jobs.get(job.account_id, job.id)
    assert tried == []
    monkeypatch.setattr(db, "_TRUST_S", 0.0)
    services.jobs.get(job.account_id, job.id)
    assert len(tried) == 1


def test_a_connection_that_was_cut_inside_a_transaction_is_unavailable_and_writes_nothing(
    services: Services, make: Factory, server: Postgres
) -> None:
    job = make.job()

    def write_and_lose() -> None:
        with services.database.writing() as connection:
            connection.exec_driver_sql("UPDATE jobs SET losses = 2")
            server.kill()
            server.start()
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        write_and_lose()
    assert services.jobs.get(job.account_id, job.id).losses == 0


class CutOff(LeaseStore):
    """`cut` is called once, as an outcome is about to be written."""

    cut: Callable[[], None] | None = None

    def _finish(self, *given: Any, **values: Any) -> bool:
        cut, self.cut = self.cut, None
        if cut is not None:
            cut()
        return super()._finish(*given, **values)


@pytest.mark.parametrize(
    ("act", "states"),
    [
        ("copy", ["queued", "running", "succeeded"]),
        ("refuse", ["queued", "running", "failed"]),
        ("break", ["queued", "running", "failed"]),
        ("lose_storage", ["queued", "running", "queued"]),
        ("drain", ["queued", "running", "queued"]),
    ],
)
def test_an_outcome_is_written_when_the_server_was_killed_at_that_moment(
    services: Services, make: Factory, server: Postgres, act: str, states: list[str]
) -> None:
    drain = Drain()
    job = make.job(is_stored=True, options={"act": act})
    leases = CutOff(services.database, lease_s=600, result_retention_days=1)
    starter = threading.Timer(AWAY_S, server.start)

    def cut() -> None:
        server.kill()
        starter.start()

    leases.cut = cut
    with structlog.testing.capture_logs() as events:
        at = _workplace(replace(services, leases=leases), drain)
        claimed = leases.claim_next("warp", "worker-1")
        assert claimed is not None
        if act == "drain":
            drain.begin(0)
        run(claimed, at)
    starter.join()
    assert [event for event in events if event["event"] == "outcome_waits"]
    after = services.jobs.get(job.account_id, job.id)
    assert (after.attempt, after.losses) == (1, 0)
    assert history(services.database, job.id) == states
    _assert_pictures_are_as_the_row_says(services, job.id, act == "copy")


def _workplace(services: Services, drain: Drain | None = None) -> Workplace:
    drain = drain or Drain()
    heart = Heart(services.leases, drain, lease_s=600, heartbeat_s=0.2)
    return Workplace(
        services, {"warp": ActingEngine()}, heart, Solo(), Claims(services.leases, "worker-1")
    )


def _assert_pictures_are_as_the_row_says(services: Services, job_id: str, are_there: bool) -> None:
    folder = services.settings.objects_folder / "results"
    stored = [path for path in folder.rglob("*") if path.is_file() and job_id in str(path)]
    assert len(stored) == (2 if are_there else 0)


def test_there_is_one_outcome_and_its_pictures_stay_when_the_answer_to_the_commit_is_lost(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make.job(is_stored=True)
    leases = CutOff(services.database, lease_s=600, result_retention_days=1)
    dialect = services.database.engine.dialect
    commit = dialect.do_commit

    def lose_the_answer(connection: Any) -> None:
        commit(connection)
        monkeypatch.setattr(dialect, "do_commit", commit)
        connection.dbapi_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    leases.cut = lambda: monkeypatch.setattr(dialect, "do_commit", lose_the_answer)
    with structlog.testing.capture_logs() as events:
        run_next_job("warp", _workplace(replace(services, leases=leases)))
    assert [event for event in events if event["event"] == "outcome_waits"]
    assert history(services.database, job.id) == ["queued", "running", "succeeded"]
    _assert_pictures_are_as_the_row_says(services, job.id, are_there=True)
    assert services.jobs.get(job.account_id, job.id).status is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("is_canceled", "outcome"),
    [(False, (JobState.SUCCEEDED, 2, 0)), (True, (JobState.CANCELED, 1, 0))],
)
def test_a_job_waits_for_no_lease_when_the_answer_to_its_claim_is_lost(
    services: Services,
    make: Factory,
    monkeypatch: pytest.MonkeyPatch,
    is_canceled: bool,
    outcome: tuple[JobState, int, int],
) -> None:
    job = make.job(is_stored=True)
    dialect = services.database.engine.dialect
    execute = dialect.do_execute

    def lose_the_answer(cursor: Any, statement: str, *given: Any) -> None:
        execute(cursor, statement, *given)
        if "worker_id=" in statement:
            monkeypatch.setattr(dialect, "do_execute", execute)
            cursor.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    at = _workplace(services)
    monkeypatch.setattr(dialect, "do_execute", lose_the_answer)
    with pytest.raises(DatabaseUnavailable):
        run_next_job("warp", at)
    assert services.jobs.get(job.account_id, job.id).status is JobState.RUNNING
    if is_canceled:
        services.jobs.cancel(job.account_id, job.id)
    assert run_next_job("warp", at) is not is_canceled
    after = services.jobs.get(job.account_id, job.id)
    assert (after.status, after.attempt, after.losses) == outcome


def test_a_worker_goes_on_claiming_when_the_server_was_restarted_under_it(
    start_crew: Callable[..., Crew], server: Postgres, tmp_path: Path
) -> None:
    crew = start_crew(lease_s=30, heartbeat_s=0.2, sweep_s=0.3)
    worker = crew.worker()
    crew.start("worker", "run", "--queues", "maintenance")
    crew.start("worker", "beat")
    wait_until(crew.services.engines_up.all)
    make = Factory(crew.services)
    mark = tmp_path / "go"
    job = make.job(is_stored=True, options={"act": "wait_for_mark", "mark": str(mark)})
    crew.services.wakeups.send("warp")
    wait_until(Path(f"{mark}.started").exists)
    server.stop()
    mark.touch()  # the engine ends, and nobody can be told
    worker.wait_for_event("outcome_waits")
    server.start()
    ended = crew.wait_for_end(job)
    assert (ended.status, ended.attempt, ended.losses) == (JobState.SUCCEEDED, 1, 0)
    server.kill()
    crew.services.wakeups.send("warp")
    wait_until(lambda: worker.events("wakeup_dropped"))
    server.start()
    after = make.job(is_stored=True)  # nobody is woken up but by the sweep
    assert crew.wait_for_end(after).status is JobState.SUCCEEDED
    assert all(member.process.poll() is None for member in crew.members)


def test_a_job_is_claimed_by_another_when_a_worker_was_cut_off_in_the_middle_of_its_claim(
    services: Services, make: Factory
) -> None:
    """The cut-off one holds the row until the server gives it up, well before a lease is over."""
    job = make.job()
    with pytest.raises(DatabaseUnavailable), services.database.writing() as connection:  # noqa: PT012
        connection.execute(select(jobs.c.id).where(jobs.c.id == job.id).with_for_update())
        assert services.leases.claim_next("warp", "another") is None
        wait_until(lambda: services.leases.claim_next("warp", "another"), limit_s=9)
        connection.execute(select(jobs.c.id))


def test_there_is_no_deadlock_when_everything_happens_at_once(
    services: Services, make: Factory, server: Postgres
) -> None:
    accounts = [make.account() for _ in range(4)]
    images = [make.image(account).id for account in accounts]

    def submit(n: int) -> None:
        for _ in range(20):
            make.job(accounts[n % 4], image=images[n % 4], timeout_s=86_400)

    def work(n: int) -> None:
        for _ in range(30):
            job = services.leases.claim_next("warp", f"worker-{n}")
            if job is None:
                continue
            if n % 2:
                services.leases.give_back(job)
            else:
                services.leases.succeed(job, a_result(job))

    def sweep_often(_: int) -> None:
        for _ in range(10):
            sweep(services)

    calls = [(call, n) for call in (submit, work, sweep_often) for n in range(6)]
    in_threads(lambda call, n: call(n), calls)
    with services.database.reading() as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert connection.exec_driver_sql(query).scalar() == 0

"""Redis makes work start at once; without it, and without beat, work starts all the same."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.jobs.job import Job
from shared.jobs.state import JobState
from shared.queue import working_app
from tests.broker import Valkey, free_port
from tests.crew import Crew, wait_until
from tests.factories import Factory, history
from tests.servers.postgres import Postgres
from worker import health
from worker.health import Health
from worker.intake import Intake
from worker.watch import Drain

pytestmark = pytest.mark.slow


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    return start_crew(
        lease_s=3, heartbeat_s=0.2, sweep_s=0.3, drain_s=0.3, worker_threads=2,
        worker_port=free_port(),
    )  # fmt: skip


def _jobs(crew: Crew, count: int, **options: str) -> list[Job]:
    make = Factory(crew.services)
    account = make.account()
    image = make.image(account, is_stored=True).id
    return [make.job(account, image=image, options=options) for _ in range(count)]


def _ready(crew: Crew) -> tuple[int, dict[str, Any]]:
    """What the worker's `/readyz` answers; 0 while nobody listens."""
    url = f"http://127.0.0.1:{crew.services.settings.worker_port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def _wait_for(crew: Crew, status: int, word: str) -> dict[str, Any]:
    def answered() -> dict[str, Any] | None:
        code, body = _ready(crew)
        return body if (code, body.get("status")) == (status, word) else None

    return wait_until(answered, said=f"{_ready(crew)} {crew.said()}")  # type: ignore[no-any-return]


def _wait_for_a_look(crew: Crew) -> None:
    """Until it has looked for work once more, in vain or not."""
    seen = [0.0]

    def looked() -> bool:
        seen.append(_ready(crew)[1]["checks"]["work"]["silent_s"])
        return seen[-1] < seen[-2]

    wait_until(looked)


def test_jobs_end_while_the_broker_is_away_and_health_says_what_is_missing(
    crew: Crew, broker: Valkey
) -> None:
    crew.worker()
    assert _wait_for(crew, 200, "ok")["checks"]["work"]["ok"]
    broker.kill()
    assert not _wait_for(crew, 200, "degraded")["checks"]["broker"]["ok"]
    for job in _jobs(crew, 5):
        assert crew.wait_for_end(job).status is JobState.SUCCEEDED
        assert history(crew.services.database, job.id) == ["queued", "running", "succeeded"]
    broker.start()
    _wait_for(crew, 200, "ok")


def test_a_worker_without_engines_is_ready_though_it_never_looks_for_jobs(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SLACK_S", 0.0)
    monkeypatch.setattr(health, "LATE_LOOKS", 0)
    services, drain = crew.services, Drain()
    nowhere: Any = None
    silent = Intake(nowhere, drain, 1)
    assert Health(services, silent, drain).ready()[1]["status"] == "unavailable"
    status, body = Health(services, None, drain).ready()
    assert (status, body["status"]) == (200, "ok")
    assert "work" not in body["checks"]


def test_jobs_end_when_a_worker_takes_no_messages_though_the_broker_answers(
    crew: Crew, broker: Valkey
) -> None:
    """As after some reconnects (celery#8030, #8091): connected, alive, and deaf."""
    worker = crew.worker()
    worker.wait_for_ready()
    with working_app(broker.url) as app:
        answer = wait_until(lambda: app.control.cancel_consumer("warp", reply=True))
    assert "ok" in next(iter(answer[0].values()))
    (job,) = _jobs(crew, 1)
    crew.services.wakeups.send("warp")
    assert crew.wait_for_end(job).status is JobState.SUCCEEDED


def test_a_job_goes_back_and_ends_when_its_worker_dies_and_neither_broker_nor_beat_is_there(
    crew: Crew, broker: Valkey, tmp_path: Path
) -> None:
    broker.kill()
    crew.worker(queues="warp,maintenance")
    (job,) = _jobs(crew, 1, act="die_once", mark=str(tmp_path / "died"))
    wait_until((tmp_path / "died").exists, said=crew.said())
    crew.worker(queues="warp,maintenance")
    ended = crew.wait_for_end(job)
    assert (ended.status, ended.attempt, ended.losses) == (JobState.SUCCEEDED, 2, 1)


def test_a_worker_that_works_unwoken_gives_its_job_back_when_it_is_told_to_end(
    crew: Crew, broker: Valkey, tmp_path: Path
) -> None:
    broker.kill()
    worker = crew.worker()
    mark = tmp_path / "go"
    (job,) = _jobs(crew, 1, act="wait_for_mark", mark=str(mark))
    wait_until(Path(f"{mark}.started").exists, said=crew.said())
    worker.signal(signal.SIGTERM)
    worker.wait_for_death(15)
    back = crew.services.jobs.get(job.account_id, job.id)
    assert (back.status, back.attempt, back.losses) == (JobState.QUEUED, 1, 0)


def test_no_more_jobs_run_at_once_than_there_are_places_when_woken_and_unwoken_meet(
    crew: Crew, tmp_path: Path
) -> None:
    worker = crew.worker()
    mark = tmp_path / "go"
    jobs = _jobs(crew, 8, act="wait_for_mark", mark=str(mark))
    wait_until(lambda: len(worker.events("job_claimed")) == 2, said=crew.said())
    crew.services.wakeups.top_up("warp", 8)
    for _ in range(2):
        _wait_for_a_look(crew)
    assert len(worker.events("job_claimed")) == 2
    mark.touch()
    for job in jobs:
        assert crew.wait_for_end(job).status is JobState.SUCCEEDED


def test_a_worker_is_unavailable_while_the_database_is_away_and_comes_back_by_itself(
    start_crew: Callable[..., Crew], postgres: Postgres, migrated_postgres: str
) -> None:
    name = postgres.create(migrated_postgres)
    crew = start_crew(
        database_url=postgres.url(name), lease_s=3, heartbeat_s=0.2, sweep_s=0.3,
        worker_port=free_port(),
    )  # fmt: skip
    worker = crew.worker()
    _wait_for(crew, 200, "ok")
    postgres.stop()
    try:
        assert not _wait_for(crew, 503, "unavailable")["checks"]["database"]["ok"]
    finally:
        postgres.start()
    _wait_for(crew, 200, "ok")
    (job,) = _jobs(crew, 1)
    assert crew.wait_for_end(job).status is JobState.SUCCEEDED
    worker.signal(signal.SIGKILL)
    worker.wait_for_death()
    crew.services.database.close()
    postgres.drop(name)

"""Event streams of real API processes on PostgreSQL: many, cut off, taken up, without database."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api.live import HEARTBEAT_S
from shared.jobs.job import Job
from shared.services import Services
from tests.api.calling import DRAG
from tests.api.streaming import Told, in_short, read_events
from tests.crew import Crew, wait_until
from tests.factories import Factory, a_result
from tests.integration.listening import Listener, Listeners
from tests.integration.serving import Server
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.slow


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def serve(services: Services, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(**settings: object) -> Server:
        servers.append(Server(services, tmp_path, **settings))
        servers[-1].wait_until_up()
        return servers[-1]

    yield start
    for server in servers:
        server.end()


@pytest.fixture
def listen() -> Iterator[Callable[[Server], Listeners]]:
    opened: list[Listeners] = []

    def open_some(server: Server) -> Listeners:
        opened.append(Listeners(server.port))
        return opened[-1]

    yield open_some
    for listeners in opened:
        listeners.close()


class Owner:
    """An account and its key."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.key = services.accounts.create_key("owner").text
        self.account_id = services.accounts.account_of(self.key) or ""

    def job(self) -> Job:
        return Factory(self.services).job(self.account_id, timeout_s=3600)

    def run(self) -> Job:
        """Claim a job and make two steps."""
        job = self.services.leases.claim_next("warp", "worker")
        assert job is not None
        for step in (1, 2):
            self.services.leases.heartbeat(job, step, 8)
        return job

    def finish(self, job: Job) -> None:
        assert self.services.leases.succeed(job, a_result(job))


@pytest.fixture
def owner(services: Services) -> Owner:
    return Owner(services)


def words(listener: Listener) -> list[str]:
    return in_short(event for _, event in listener.events)


def wait_for(listener: Listener, *expected: str) -> None:
    wait_until(lambda: words(listener)[-len(expected) :] == list(expected), said=str(listener))


def is_rising(events: list[Told]) -> bool:
    places = [tuple(map(int, event.id.split("."))) for event in events]
    return places == sorted(set(places))


def test_others_are_served_when_a_hundred_streams_are_open_on_one_process(
    serve: Callable[..., Server], listen: Callable[[Server], Listeners], owner: Owner
) -> None:
    server = serve()
    listeners, jobs = listen(server), [owner.job() for _ in range(4)]
    for number in range(100):
        listeners.listen(jobs[number % 4].id, owner.key)
    for listener in listeners.all:
        wait_for(listener, "queued")
    headers = {"Authorization": f"Bearer {owner.key}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
        for _ in range(20):
            assert client.get(f"/v1/jobs/{jobs[0].id}").status_code == 200
    assert not any(listener.has_ended for listener in listeners.all)
    for _ in jobs:
        owner.finish(owner.run())
    for listener in listeners.all:
        wait_until(lambda listener=listener: listener.has_ended)
        told = words(listener)
        assert [word for word in told if "/" not in word] == [
            "queued", "running", "#0", "succeeded",
        ]  # fmt: skip
        assert is_rising([event for _, event in listener.events])


def test_a_stream_ends_whole_and_goes_on_after_a_restart_when_the_server_is_told_to_end(
    serve: Callable[..., Server], listen: Callable[[Server], Listeners], owner: Owner
) -> None:
    server, job = serve(), owner.job()
    listeners = listen(server)
    first = [listeners.listen(job.id, owner.key) for _ in range(20)]
    running = owner.run()
    for listener in first:
        wait_for(listener, "2/8")
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: all(listener.has_ended for listener in first), 4)
    assert server.process.wait(10) == 0
    owner.services.leases.heartbeat(running, 5, 8)
    server.start()
    again = [listeners.listen(job.id, owner.key, listener.events[-1][1].id) for listener in first]
    for listener in again:
        wait_for(listener, "5/8")
    owner.finish(running)
    for before, listener in zip(first, again, strict=True):
        wait_until(lambda listener=listener: listener.has_ended)
        assert words(listener) == ["5/8", "#0", "succeeded"]
        assert is_rising([event for _, event in before.events + listener.events])


def test_a_stream_stays_open_and_goes_on_when_the_database_is_away_meanwhile(
    serve: Callable[..., Server],
    listen: Callable[[Server], Listeners],
    owner: Owner,
    postgres: Postgres,
) -> None:
    server, job = serve(), owner.job()
    listener = listen(server).listen(job.id, owner.key)
    wait_for(listener, "queued")
    try:
        postgres.stop()
        wait_until(lambda: "waiting_without_database" in server.log.read_text())
    finally:
        postgres.ensure()
    assert not listener.has_ended
    running = owner.run()
    wait_for(listener, "2/8")
    owner.finish(running)
    wait_until(lambda: listener.has_ended)
    assert words(listener)[-2:] == ["#0", "succeeded"]
    assert is_rising([event for _, event in listener.events])


def test_streams_end_before_they_beat_and_others_go_on_when_their_key_is_revoked_by_command(
    serve: Callable[..., Server], listen: Callable[[Server], Listeners], owner: Owner
) -> None:
    server, job = serve(), owner.job()
    other = owner.services.accounts.create_key("owner").text
    listeners = listen(server)
    ending = [listeners.listen(job.id, owner.key) for _ in range(5)]
    staying = listeners.listen(job.id, other)
    for listener in listeners.all:
        wait_for(listener, "queued")
    assert server.command("key", "revoke", owner.key).returncode == 0
    wait_until(lambda: all(listener.has_ended for listener in ending), HEARTBEAT_S)
    owner.run()
    wait_for(staying, "2/8")
    assert all(words(listener) == ["queued"] for listener in ending)
    assert listeners.listen(job.id, owner.key).wait_for_status() == 401


def test_a_place_is_free_soon_when_a_client_has_gone_without_a_word(
    serve: Callable[..., Server], listen: Callable[[Server], Listeners], owner: Owner
) -> None:
    server, job = serve(max_streams=1), owner.job()
    listeners = listen(server)
    gone = listeners.listen(job.id, owner.key)
    wait_for(gone, "queued")
    refused = listeners.listen(job.id, owner.key)
    wait_until(lambda: refused.has_ended)
    assert refused.status == 503
    gone.link.shutdown(2)

    def has_place() -> bool:
        listener = listeners.listen(job.id, owner.key)
        wait_until(lambda: listener.events or listener.has_ended)
        return bool(listener.events)

    wait_until(has_place, 10)
    wait_until(lambda: "stream_ended" in server.log.read_text())
    assert "Traceback" not in server.log.read_text()


def test_a_client_of_two_processes_sees_everything_once_when_it_reconnects_after_each_event(
    start_crew: Callable[..., Crew], tmp_path: Path
) -> None:
    """A real worker runs the job; each connection reads what is there, and leaves."""
    crew = start_crew(worker_threads=1)
    owner = Owner(crew.services)
    server = Server(crew.services, tmp_path, api_processes=2)
    try:
        server.wait_until_up()
        image = Factory(crew.services).image(owner.account_id, is_stored=True)
        headers = {"Authorization": f"Bearer {owner.key}"}
        with httpx.Client(
            base_url=server.url, headers=headers, trust_env=False, timeout=30
        ) as client:
            body = {"image": image.id, "drags": [DRAG]}
            job_id = client.post("/v1/jobs", json=body).json()["id"]
            crew.worker()
            pieces: list[Told] = []
            while not pieces or pieces[-1].data.get("status") != "succeeded":
                last = {"Last-Event-ID": pieces[-1].id} if pieces else {}
                with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=last) as answer:
                    told = read_events(answer.iter_raw())
                    pieces.append(next(event for event in told if event.id))
            path = f"/v1/jobs/{job_id}/events"
            whole = [event for event in read_events([client.get(path).content]) if event.id]
            last = {"Last-Event-ID": whole[-1].id}
            assert client.get(path, headers=last).status_code == 204
    finally:
        server.end()
    assert is_rising(pieces)
    assert [e.id for e in pieces if e.type != "progress"] == [e.id for e in whole]
    assert in_short(whole) == ["queued", "running", "#0", "succeeded"]

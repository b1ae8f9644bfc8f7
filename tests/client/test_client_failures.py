"""The client against a real API behind a proxy that harms its requests: nothing is made twice."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

import towline
from shared.jobs.tables import jobs
from shared.services import Services, build_services
from shared.settings import Settings
from tests.broker import free_port
from tests.chaos.network import Link, Network
from tests.client.conftest import DRAG, LARGE, SMALL, noise
from tests.client.harm import (
    STALL_S,
    answering,
    done_but,
    done_but_a_page,
    done_but_half_json,
    done_but_reset,
    reset,
    stalled,
)
from tests.integration.serving import Server
from tests.planted import SECRET_KEY
from tests.servers.s3_proxy import (
    Behaviour,
    S3Proxy,
    cut_short,
    done_but_hung_up,
    hung_up,
    pass_on,
)
from towline import Timeouts, errors

pytestmark = pytest.mark.slow
PATIENT = Timeouts(call_s=30, connect_s=2, silence_s=1)


@pytest.fixture(scope="module")
def stage(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Services, Server]]:
    """One API process for all; each test has an account of its own."""
    folder = tmp_path_factory.mktemp("api")
    path = shutil.copy(migrated_sqlite, folder / "towline.db")
    services = build_services(
        Settings(
            home=folder,
            database_url=f"sqlite:///{path}",
            redis_url=f"redis://127.0.0.1:{free_port()}/0",
            secret_key=SECRET_KEY,
        )
    )
    server = Server(services, folder, api_processes=1)
    server.wait_until_up()
    yield services, server
    server.end()
    services.database.close()


@pytest.fixture
def services(stage: tuple[Services, Server]) -> Services:
    return stage[0]


@pytest.fixture
def server(stage: tuple[Services, Server]) -> Server:
    return stage[1]


@pytest.fixture
def proxy(server: Server) -> Iterator[S3Proxy]:
    with S3Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def key(services: Services) -> str:
    return services.accounts.create_key(f"client {uuid4().hex}").text


@pytest.fixture
def account(services: Services, key: str) -> str:
    found = services.accounts.account_of(key)
    assert found is not None
    return found


@pytest.fixture
def client(form: Callable[..., Any], proxy: S3Proxy, key: str) -> Iterator[Any]:
    with form(proxy.url, key, timeout=PATIENT) as client:
        yield client


def jobs_of(services: Services, account: str) -> int:
    query = select(func.count()).select_from(jobs).where(jobs.c.account_id == account)
    with services.database.reading() as connection:
        return connection.scalar(query) or 0


HARMS: list[list[Behaviour]] = [
    [reset], [done_but_reset], [hung_up], [done_but_hung_up], [stalled], [cut_short],
    [done_but_half_json], [done_but_a_page], [answering(429, "1")], [answering(500)],
    [answering(503, "0")], [answering(408)], [done_but(502)], [done_but(504)],
    [answering(409, "1", "idempotency_key_in_flight")],
    [done_but_reset, answering(503), done_but_half_json, answering(500), done_but_hung_up],
]  # fmt: skip


def _name(harms: list[Behaviour]) -> str:
    return "+".join(each.__name__ for each in harms)


@pytest.mark.parametrize("harms", HARMS, ids=_name)
def test_one_job_is_made_when_its_submission_is_harmed(
    client: Any, proxy: S3Proxy, services: Services, account: str, harms: list[Behaviour]
) -> None:
    image = client.images.upload(noise(*SMALL))
    proxy.behave(*harms)
    job = client.jobs.create(image, [DRAG])
    assert jobs_of(services, account) == 1
    assert client.jobs.get(job).id == job.id
    assert [method for method, _ in proxy.requests[: len(harms) + 1]] == ["POST"] * (len(harms) + 1)


def test_the_service_is_asked_no_more_often_than_it_was_said(
    form: Callable[..., Any], proxy: S3Proxy, key: str
) -> None:
    proxy.behave(always=answering(503, "0"))
    with form(proxy.url, key, timeout=PATIENT, max_retries=2) as client:
        with pytest.raises(towline.ServerError) as caught:
            client.account.get()
        assert caught.value.retry_after == 0
        assert len(proxy.requests) == 3
    proxy.behave(always=reset)
    with form(proxy.url, key, timeout=PATIENT, max_retries=0) as client:
        with pytest.raises(towline.ConnectionFailed):
            client.account.get()
        assert len(proxy.requests) == 1


def test_a_refusal_is_not_sent_again(client: Any, proxy: S3Proxy) -> None:
    proxy.behave()
    with pytest.raises(towline.InvalidRequest):
        client.jobs.create("img_nobodys", [DRAG])
    assert len(proxy.requests) == 1


def test_a_call_ends_in_its_time_when_the_service_is_silent(
    form: Callable[..., Any], proxy: S3Proxy, key: str
) -> None:
    proxy.behave(always=stalled)
    began = time.monotonic()
    with form(proxy.url, key, timeout=Timeouts(call_s=2, silence_s=0.5)) as client:
        with pytest.raises(towline.CallTimedOut):
            client.account.get()
        assert time.monotonic() - began < 2 + STALL_S / 2


def test_retry_after_is_waited_for_when_the_service_says_one(client: Any, proxy: S3Proxy) -> None:
    proxy.behave(answering(429, "2"))
    began = time.monotonic()
    client.account.get()
    assert time.monotonic() - began >= 2


def test_a_far_away_retry_after_is_the_callers_to_decide(client: Any, proxy: S3Proxy) -> None:
    proxy.behave(always=answering(429, "86400", "pixel_quota_exceeded"))
    with pytest.raises(errors.PixelQuotaExceeded) as caught:
        client.account.get()
    assert caught.value.retry_after == 86400
    assert len(proxy.requests) == 1


def test_a_deletion_has_succeeded_when_its_answer_was_lost(client: Any, proxy: S3Proxy) -> None:
    image = client.images.upload(noise(*SMALL))
    proxy.behave(done_but_reset)
    gone = client.images.delete(image)
    assert (gone.id, gone.deleted, gone.removed) == (image.id, True, None)
    with pytest.raises(towline.NotFound):
        client.images.delete(image)


@pytest.mark.parametrize(
    "harms",
    [[done_but_reset], [reset, answering(503)], [pass_on, done_but_half_json, reset]],
    ids=_name,
)
def test_one_image_is_kept_when_its_upload_is_harmed(
    client: Any, proxy: S3Proxy, harms: list[Behaviour]
) -> None:
    data = noise(*LARGE)
    proxy.behave(*harms)
    image = client.images.upload(data)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    used = client.account.get().usage.stored_bytes
    assert used == len(data)


def test_a_wait_goes_on_when_the_service_is_away_for_a_while(
    client: Any, server: Server, services: Services, account: str
) -> None:
    job = client.jobs.create(client.images.upload(noise(*SMALL)), [DRAG])

    def come_and_go() -> None:
        time.sleep(0.5)
        server.kill()
        time.sleep(1)
        services.jobs.cancel(account, job.id)
        server.start()

    outage = threading.Thread(target=come_and_go)
    outage.start()
    try:
        assert client.jobs.wait(job, timeout=60).status == "canceled"
    finally:
        outage.join()


def test_a_wait_ends_in_its_time_when_the_job_does_not(client: Any, proxy: S3Proxy) -> None:
    job = client.jobs.create(client.images.upload(noise(*SMALL)), [DRAG])
    proxy.behave()
    began = time.monotonic()
    with pytest.raises(towline.WaitTimedOut) as caught:
        client.jobs.wait(job.id, timeout=3)
    assert 2.5 < time.monotonic() - began < 6
    assert (caught.value.last_seen.id, caught.value.last_seen.status) == (job.id, "queued")
    assert len(proxy.requests) <= 4


def test_nothing_is_told_twice_when_a_stream_breaks(
    form: Callable[..., Any], server: Server, services: Services, key: str, account: str
) -> None:
    network = Network()
    port = network.connect("client", "api", server.port)
    try:
        with form(f"http://127.0.0.1:{port}", key, timeout=PATIENT) as client:
            job = client.jobs.create(client.images.upload(noise(*SMALL)), [DRAG])
            told = []
            for event in client.jobs.events(job):
                told.append(event.status)
                if len(told) == 1:
                    network.tell(Link.reset, server="api")
                    services.jobs.cancel(account, job.id)
            assert told == ["queued", "canceled"]
    finally:
        network.close()

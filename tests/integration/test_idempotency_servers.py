"""64 submissions with one key at once, on two API processes and PostgreSQL, also when they die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from shared.idempotency.store import LEASE_MS
from shared.jobs.tables import jobs
from shared.services import Services
from tests.api.calling import DRAG
from tests.factories import Factory, let_pass
from tests.integration.serving import Server

pytestmark = pytest.mark.slow
RIVALS = 64


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def server(services: Services, tmp_path: Path) -> Iterator[Server]:
    server = Server(services, tmp_path, api_processes=2)
    server.wait_until_up()
    yield server
    server.end()


class Rivals:
    """Clients of one account with one request and one key."""

    def __init__(self, services: Services, server: Server) -> None:
        key = services.accounts.create_key("rivals").text
        account_id = services.accounts.account_of(key)
        assert account_id is not None
        self._services = services
        self.body = {"image": Factory(services).image(account_id).id, "drags": [DRAG]}
        self.headers = {"Authorization": f"Bearer {key}"}
        self.sent = threading.Semaphore(0)
        self._client = httpx.Client(base_url=server.url, timeout=30, trust_env=False)

    def ask(self, key: str) -> httpx.Response:
        """Once."""
        self.sent.release()
        headers = self.headers | {"Idempotency-Key": key}
        return self._client.post("/v1/jobs", json=self.body, headers=headers)

    def insist(self, key: str, limit_s: float = 60) -> dict[str, Any]:
        """Until there is a job, as a client does that must have one."""
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                answer = self.ask(key)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 202:
                return answer.json()  # type: ignore[no-any-return]
            assert answer is None or answer.status_code in (409, 503), answer.text
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    def jobs(self) -> int:
        with self._services.database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(jobs)) or 0


def test_one_job_is_made_when_64_submit_it_at_once_with_one_key(
    services: Services, server: Server
) -> None:
    rivals = Rivals(services, server)
    assert len(server.workers()) == 2
    with ThreadPoolExecutor(RIVALS) as pool:
        for made in (1, 2, 3):
            answers = list(pool.map(rivals.ask, [f"key-{made}"] * RIVALS))
            codes = [answer.status_code for answer in answers]
            assert set(codes) <= {202, 409}, codes
            accepted = [answer for answer in answers if answer.status_code == 202]
            first = [each for each in accepted if "Idempotency-Replayed" not in each.headers]
            assert len(first) == 1
            assert {answer.json()["id"] for answer in accepted} == {first[0].json()["id"]}
            assert rivals.jobs() == made


@pytest.mark.parametrize("whom", ["a process", "everything"])
def test_one_job_is_made_when_the_api_is_killed_among_64_submissions(
    services: Services, server: Server, whom: str
) -> None:
    rivals = Rivals(services, server)
    with ThreadPoolExecutor(RIVALS) as pool:
        for made in (1, 2, 3):
            waiting = [pool.submit(rivals.insist, f"key-{made}") for _ in range(RIVALS)]
            for _ in range(RIVALS // 2):
                rivals.sent.acquire()
            if whom == "a process":
                os.kill(server.workers()[0], signal.SIGKILL)
            else:
                server.kill()
                server.start()
            time.sleep(0.5)  # a key that one died with, seen in flight by the rest
            let_pass(services.database, LEASE_MS / 1000 + 1)
            assert len({each.result(60)["id"] for each in waiting}) == 1
            assert rivals.jobs() == made

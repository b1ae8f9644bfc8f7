"""The API dies with an `Idempotency-Key` in its hands: asked again, one thing is made, never two.

A real process, on a database and objects that outlive it, ends at the very line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from shared.idempotency.store import LEASE_MS
from shared.images.tables import images
from shared.jobs.tables import jobs
from shared.services import Services
from tests.api.calling import Caller, caller_of, is_problem
from tests.broker import Valkey
from tests.crew import REPOSITORY, wait_until
from tests.factories import a_picture, let_pass
from tests.integration.test_orphan_windows import collect

pytestmark = pytest.mark.slow
KEY = {"Idempotency-Key": "the-key"}

API = """
import json, os, sys
from shared.idempotency.store import IdempotencyStore
from shared.images.store import ImageStore
from shared.jobs.store import JobStore
from shared.services import build_services
from shared.settings import Settings
from api.app import create_app
from tests.api.calling import Caller
from tests.factories import a_picture

def dies_after(owner, name):
    real = getattr(owner, name)
    def call(*arguments, **named):
        real(*arguments, **named)
        os._exit(9)
    setattr(owner, name, call)

given = json.load(sys.stdin)
services = build_services(Settings(**given["settings"]))
match given["moment"]:
    case "taken": dies_after(IdempotencyStore, "take")
    case "stored": dies_after(type(services.objects), "put")
    case "made": dies_after(JobStore, "submit"); dies_after(ImageStore, "add")
caller = Caller(create_app(services).test_client(), given["key"], "")
key = {"Idempotency-Key": "the-key"}
if given["body"]:
    answer = caller.post("/v1/jobs", json=given["body"], headers=key)
else:
    answer = caller.post("/v1/images", data=a_picture(seed=5), headers=key)
sys.exit(f"lived: {answer.text}")
"""


def ask_and_die(services: Services, caller: Caller, moment: str, body: Any = None) -> None:
    settings = services.settings.model_dump(mode="json")
    for name in ("database_url", "redis_url", "secret_key", "s3_access_key", "s3_secret_key"):
        settings[name] = getattr(services.settings, name).get_secret_value()
    given = {"settings": settings, "moment": moment, "key": caller.key, "body": body}
    ended = subprocess.run(
        [sys.executable, "-c", API],
        input=json.dumps(given),
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
    )
    assert ended.returncode == 9, ended.stderr


def count(services: Services, table: Any) -> int:
    with services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_one_job_is_made_when_the_api_died_after_taking_its_key(
    build: Callable[..., Services],
) -> None:
    services = build(max_waits=0)
    caller = caller_of(services)
    body = caller.body()
    ask_and_die(services, caller, "taken", body)
    assert count(services, jobs) == 0
    answer = caller.post("/v1/jobs", json=body, headers=KEY)
    assert is_problem(answer, 409, "idempotency_key_in_flight")
    let_pass(services.database, LEASE_MS / 1000 + 1)
    answer = caller.post("/v1/jobs", json=body, headers=KEY)
    assert answer.status_code == 202
    assert "Idempotency-Replayed" not in answer.headers
    assert count(services, jobs) == 1


def test_one_job_is_made_when_the_api_died_after_the_commit(
    build: Callable[..., Services], broker: Valkey
) -> None:
    services = build(redis_url=broker.url)
    caller = caller_of(services)
    body = caller.body()
    ask_and_die(services, caller, "made", body)
    assert count(services, jobs) == 1
    assert broker.messages("warp") == []
    answer = caller.post("/v1/jobs", json=body, headers=KEY)
    wait_until(lambda: len(broker.messages("warp")) == 1)  # the first died before it woke anybody
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (202, "true")
    assert services.jobs.page(caller.account_id, limit=2)[0].id == answer.json["id"]
    assert count(services, jobs) == 1


def test_one_image_is_made_when_the_api_died_after_storing_its_bytes(
    build: Callable[..., Services],
) -> None:
    services = build()
    caller = caller_of(services)
    ask_and_die(services, caller, "stored")
    assert count(services, images) == 0
    let_pass(services.database, LEASE_MS / 1000 + 1)
    answer = caller.post("/v1/images", data=a_picture(seed=5), headers=KEY)
    assert answer.status_code == 201
    assert count(services, images) == 1
    assert collect(services) == 1, "the bytes of the first"
    image = services.images.get(caller.account_id, answer.json["id"])
    assert services.objects.get(image.object_key or "") == a_picture(seed=5)


def test_one_image_is_made_when_the_api_died_after_its_row(
    build: Callable[..., Services],
) -> None:
    services = build()
    caller = caller_of(services)
    ask_and_die(services, caller, "made")
    answer = caller.post("/v1/images", data=a_picture(seed=5), headers=KEY)
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (201, "true")
    assert count(services, images) == 1
    assert collect(services) == 0

"""Processes die between storing bytes and writing the row: what they left goes, nothing else.

In a folder and in a bucket. The collector sees the storage as it will be when all is old.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.imaging import decode
from shared.objects import Stored
from shared.orphans import Orphans
from shared.services import Services
from shared.settings import Settings
from tests.api.calling import caller_of
from tests.crew import REPOSITORY, Crew
from tests.factories import Factory, a_picture, let_pass
from worker.sweep import sweep

pytestmark = pytest.mark.slow

LEASE_S = 30
DAY_S = 86_400

UPLOADER = """
import json, os, sys
import shared.jobs.cached
from shared.images.store import ImageStore
from shared.services import build_services
from shared.settings import Settings
from tests.api.calling import Caller
from api.app import create_app
given = json.load(sys.stdin)
services = build_services(Settings(**given["settings"]))
die = lambda *_, **__: os._exit(9)
match given["moment"]:
    case "stored": ImageStore.add = die
    case "half": os.replace = os.rename = die; __import__("pathlib").Path.replace = die
    case "recorded": services.objects.__class__.delete = die
    case "deleted": services.objects.__class__.walk = die
    case "answering": shared.jobs.cached.tell_of_jobs = die
client = create_app(services).test_client()
caller = Caller(client, given["key"], "")
from tests.factories import a_picture
if given["moment"] == "recorded":
    answer = caller.post(f"/v1/images/{given['image']}/complete")
elif given["moment"] == "deleted":
    answer = caller.delete(f"/v1/jobs/{given['image']}")
elif given["moment"] == "answering":
    answer = caller.submit(image=given["image"], options={"seed": 1})
else:
    answer = caller.send_picture(a_picture(seed=5))
sys.exit(f"lived: {answer.text}")
"""


class Old:
    """A store in which everything is a week old."""

    urls = None

    def __init__(self, services: Services) -> None:
        self._objects = services.objects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def walk(self, prefix: str, after: str, limit: int) -> list[Stored]:
        found = self._objects.walk(prefix, after, limit)
        return [replace(stored, age_s=stored.age_s + 7 * DAY_S) for stored in found]


def collect(services: Services) -> int:
    objects: Any = Old(services)
    orphans = Orphans(services.database, objects, grace_s=2 * DAY_S)
    return sum(orphans.collect() for _ in range(8))


@pytest.fixture(params=["folder", "s3"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.getfixturevalue("s3") if request.param == "s3" else {}


def test_only_the_pictures_of_a_dead_attempt_go_when_its_worker_died_after_storing_them(
    start_crew: Callable[..., Crew], where: dict[str, Any]
) -> None:
    crew = start_crew(lease_s=LEASE_S, heartbeat_s=0.2, worker_threads=1, **where)
    job = Factory(crew.services).job(is_stored=True, timeout_s=DAY_S)
    crew.services.wakeups.send("warp")
    assert crew.worker("--at", "stored").wait_for_death() == 9
    stored = crew.stored(job)
    assert len(stored) == 2  # the picture and its mask
    assert collect(crew.services) == 0, "the attempt may still run, for all the database knows"
    let_pass(crew.services.database, LEASE_S + 1)
    sweep(crew.services)
    assert crew.stored(job) == stored, "young"
    assert collect(crew.services) == 2
    crew.worker()
    ended = crew.wait_for_end(job)
    assert ended.result is not None
    kept = crew.stored(job)
    assert len(kept) == 2
    assert collect(crew.services) == 0
    assert decode(crew.services.objects.get(ended.result["candidates"][0]["key"])).width == 64


def upload_and_die(services: Services, moment: str, key: str, image: str = "") -> None:
    settings = services.settings.model_dump(mode="json")
    for name in ("database_url", "redis_url", "secret_key", "s3_access_key", "s3_secret_key"):
        settings[name] = getattr(services.settings, name).get_secret_value()
    given = {"settings": settings, "moment": moment, "key": key, "image": image}
    ended = subprocess.run(
        [sys.executable, "-c", UPLOADER],
        input=json.dumps(given),
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
    )
    assert ended.returncode == 9, ended.stderr


def test_an_upload_leaves_nothing_and_can_be_repeated_when_the_api_died_before_its_row(
    build: Callable[..., Services], where: dict[str, Any]
) -> None:
    services = build(**where)
    caller = caller_of(services)
    other = caller.image(a_picture(seed=4))
    upload_and_die(services, "stored", caller.key)
    assert len(services.objects.walk("images/", "", 10)) == 2
    assert collect(services) == 1
    (kept,) = services.objects.walk("images/", "", 10)
    assert kept.key == services.images.get(caller.account_id, other).object_key
    upload_and_die(services, "stored", caller.key)
    again = caller.image(a_picture(seed=5))
    assert collect(services) == 1
    image = services.images.get(caller.account_id, again)
    assert services.objects.get(image.object_key or "") == a_picture(seed=5)


def test_what_was_staged_goes_when_the_api_died_after_completing_the_upload(
    build: Callable[..., Services], where: dict[str, Any]
) -> None:
    services = build(**where)
    caller = caller_of(services)
    data = a_picture(seed=6)
    image_id = caller.announce(data).json["id"]
    staged = f"staging/{caller.account_id}/{image_id}"
    services.objects.put(staged, data)
    assert collect(services) == 0, "its row waits for it"
    upload_and_die(services, "recorded", caller.key, image_id)
    assert services.objects.get(staged) == data
    assert collect(services) == 1
    image = services.images.get(caller.account_id, image_id)
    assert services.objects.get(image.object_key or "") == data
    assert services.objects.walk("staging/", "", 10) == []


def test_shared_pictures_go_with_their_last_job_though_the_api_died_before_they_were_deleted(
    start_crew: Callable[..., Crew], where: dict[str, Any]
) -> None:
    crew = start_crew(worker_threads=1, **where)
    services = crew.services
    crew.worker().wait_for_ready()
    caller = caller_of(services)
    image = caller.image(a_picture(seed=8))
    seed = {"seed": 1}
    first = services.jobs.get(caller.account_id, caller.job(image=image, options=seed)["id"])
    services.wakeups.send("warp")
    crew.wait_for_end(first)
    kept = crew.stored(first)
    assert len(kept) == 2
    upload_and_die(services, "answering", caller.key, image)
    assert [job.id for job in services.jobs.page(caller.account_id, limit=9)] == [first.id]
    second = caller.job(image=image, options=seed)
    assert second["result"]["cached"]
    assert caller.delete(f"/v1/jobs/{first.id}").status_code == 200
    assert (collect(services), crew.stored(first)) == (0, kept)
    upload_and_die(services, "deleted", caller.key, second["id"])
    assert crew.stored(first) == kept
    assert services.jobs.page(caller.account_id, limit=9) == []
    assert caller.job(image=image, options=seed)["status"] == "queued"
    assert (collect(services), crew.stored(first)) == (2, [])


def test_a_half_written_file_goes_when_its_process_was_killed_while_it_wrote(
    build: Callable[..., Services],
) -> None:
    services = build()
    caller = caller_of(services)
    upload_and_die(services, "half", caller.key)
    folder = services.settings.objects_folder
    (half,) = [path for path in folder.rglob("*") if path.is_file()]
    assert half.name.startswith(".put-")
    assert collect(services) == 1
    assert not list(folder.rglob("*"))


def test_the_settings_reach_the_collector(build: Callable[..., Services]) -> None:
    services = build(orphan_grace_hours=30)
    assert services.orphans._grace_s == 30 * 3600
    assert Settings().orphan_grace_hours * 3600 > DAY_S, "longer than any job may run"

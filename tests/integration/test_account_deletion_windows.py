"""`python -m api account delete` dies in the middle (`kill -9`); the same command finishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from shared.accounts.tables import accounts
from shared.jobs.tables import jobs
from shared.objects.keys import PREFIXES
from shared.services import Services
from tests.crew import LIMIT_S, REPOSITORY
from tests.crowded import Crowd, name_of
from tests.factories import rows_that_name

pytestmark = pytest.mark.slow

JOBS, OBJECTS = 6000, 1500
MINE, OTHER = name_of(0), name_of(1)
NAME = "crowd 0"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def full(services: Services) -> Services:
    """An account with many rows and objects, beside another one."""
    crowd = Crowd(services.database)
    crowd.accounts(2)
    crowd.jobs("succeeded", JOBS, accounts=1)
    crowd.jobs("succeeded", 3, accounts=1, first=1)
    for number in range(OBJECTS):
        services.objects.put(f"results/{MINE}/job_{number:032x}/1/0.png", b"a picture")
    services.objects.put(f"results/{OTHER}/job_{0:032x}/1/0.png", b"a picture")
    return services


def start(services: Services) -> subprocess.Popen[str]:
    settings = services.settings
    return subprocess.Popen(
        [sys.executable, "-m", "api", "account", "delete", NAME, "--yes", "--json"],
        cwd=REPOSITORY,
        env=dict(os.environ)
        | {"TOWLINE_HOME": str(settings.home), "TOWLINE_DATABASE_URL": settings.database},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def jobs_of(services: Services, account_id: str) -> int:
    mine = select(func.count()).where(jobs.c.account_id == account_id)
    with services.database.reading() as connection:
        return connection.scalar(mine) or 0


def objects_of(services: Services, account_id: str) -> int:
    places = [f"{prefix}{account_id}/" for prefix in PREFIXES]
    return sum(len(services.objects.walk(place, "", 10 * OBJECTS)) for place in places)


def has_lost_a_job(services: Services) -> bool:
    return jobs_of(services, MINE) < JOBS


def has_lost_an_object(services: Services) -> bool:
    (first,) = services.objects.walk(f"results/{MINE}/", "", 1)
    return f"{0:032x}" not in first.key


@pytest.mark.parametrize("has_come_to", [has_lost_a_job, has_lost_an_object])
def test_the_same_command_finishes_when_the_first_was_killed_in_the_middle(
    full: Services, has_come_to: Callable[[Services], bool]
) -> None:
    first = start(full)
    limit_s = time.monotonic() + LIMIT_S
    while not has_come_to(full):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < limit_s
    first.kill()
    assert first.wait() == -9
    first.communicate()
    assert objects_of(full, MINE) > 0, "it was killed before its end"
    assert full.accounts.named(NAME).deleting_at is not None
    second = start(full)
    said, complaint = second.communicate(timeout=LIMIT_S)
    assert second.returncode == 0, complaint
    assert json.loads(said)["removed"]["objects"] > 0
    assert set(rows_that_name(full.database, MINE)) <= {"audit_log", "deleted_accounts"}
    assert objects_of(full, MINE) == 0
    assert (jobs_of(full, OTHER), objects_of(full, OTHER)) == (3, 1)
    with full.database.reading() as connection:
        assert connection.scalars(select(accounts.c.id)).all() == [OTHER]

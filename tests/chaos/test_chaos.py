"""The chaos suite: a short run that finds nothing, and planted bugs that are found.

The long run is by command: `make chaos JOBS=10000` (docs/howto/chaos.md).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import plans
from tests.chaos.bugs import BUGS
from tests.chaos.report import report
from tests.chaos.run import run
from tests.chaos.servers import Servers, running_servers
from tests.servers.s3 import missing_programs

pytestmark = [pytest.mark.slow, pytest.mark.alone]

#: The others by command: `make chaos ARGS="--expect-violations NAME"`.
QUICK = ("unfenced", "unstored", "forgotten")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Of our own, since they are killed."""
    if missing := missing_programs():
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the chaos suite: {missing}")
        pytest.skip(f"no chaos suite here, {missing}")
    with running_servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


def test_the_oracle_finds_nothing_when_everything_is_killed_in_turn(
    servers: Servers, tmp_path: Path
) -> None:
    plan = plans.short(secrets.randbelow(10**6))
    result = run(plan, servers, tmp_path / "run")
    assert not result.violations, report(result, f"make chaos SEED={plan.seed}")
    acts = {line["act"] for line in result.evidence.promises if line["what"] == "sent"}
    assert {"warp", "poison", "die_once", "linger"} <= acts
    assert len(result.played) > 10


@pytest.mark.parametrize("bug", QUICK)
def test_the_oracle_finds_the_violation_when_a_bug_is_planted(
    servers: Servers, tmp_path: Path, bug: str
) -> None:
    result = run(plans.planted(bug, seed=1), servers, tmp_path / "run")
    assert {violation.kind for violation in result.violations} & BUGS[bug].found_as

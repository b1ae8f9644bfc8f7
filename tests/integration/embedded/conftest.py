"""The real supervisor with small stand-ins for API and workers, which misbehave on demand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.embedded.running import REPOSITORY, EmbeddedService, StartService

Start = Callable[..., EmbeddedService]

STAND_INS = Path(__file__).with_name("standins")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the real supervisor and the stand-ins, in a path with spaces."""
    tree = tmp_path_factory.mktemp("a tree with spaces")
    no_caches = shutil.ignore_patterns("__pycache__")
    for name in ("infra", "shared"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=no_caches)
    shutil.rmtree(tree / "shared" / "migrations")
    for name in ("api", "worker", "shared/migrations"):
        shutil.copytree(STAND_INS / name, tree / name, ignore=no_caches)
    return tree


@pytest.fixture
def start(start_service: StartService, tree: Path) -> Start:
    """Start the supervisor with its stand-ins; a `STANDIN_...` variable makes them difficult."""

    def start(*arguments: str, **options: object) -> EmbeddedService:
        return start_service(*arguments, folder=tree, **options)  # type: ignore[arg-type]

    return start

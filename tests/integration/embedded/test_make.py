"""`make` for a newcomer: what it lists, refuses, and passes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.embedded.running import REPOSITORY, wait_until

if TYPE_CHECKING:
    from tests.integration.embedded.conftest import Start

pytestmark = pytest.mark.slow


NOTHING_LEFT_S = 10


def test_service_ends_when_make_is_told_to_end(start: Start, tree: Path) -> None:
    (tree / "Makefile").write_text(f"run:\n\t@exec '{sys.executable}' -m infra.embedded\n")
    assert "\t@exec $(PY) -m infra.embedded" in (REPOSITORY / "Makefile").read_text()
    service = start(command=("make", "run"))
    service.wait_until_up()
    family = service.family()
    service.stop(limit_s=NOTHING_LEFT_S)
    wait_until(lambda: not any(each.is_alive() for each in family), 1)
    assert "stopped" in service.said


def test_make_alone_lists_every_target_with_a_line() -> None:
    listing = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True).stdout
    for target in ("run", "test", "check", "lint", "format", "bench", "lock", "clean"):
        [line] = [line for line in listing.splitlines() if line.startswith(f"  make {target} ")]
        assert len(line.split(maxsplit=2)[2]) > 10


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("exit 1", "needs Python 3.11 or later"),
        ('case "$*" in *ensurepip*) exit 1; esac; exit 0', "lacks venv or ensurepip"),
    ],
)
def test_make_says_in_one_line_what_is_wrong_with_a_python(
    tmp_path: Path, program: str, message: str
) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    python = tmp_path / "a python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    made = subprocess.run(
        ["make", "run", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode != 0
    said = made.stderr.splitlines()
    assert message in said[0]
    assert len(said) == 2  # the second is make's own

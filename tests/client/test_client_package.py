"""The client by itself: installed into an empty environment, with httpx and nothing of ours."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from shared import __version__
from tests.integration.embedded.running import REPOSITORY
from towline.version import __version__ as client_version

PACKAGE = REPOSITORY / "client" / "towline"
PROGRAM = """
import sys
import towline
from towline.testing import FakeTowline

with towline.Towline(api_key="k", transport=FakeTowline()) as client:
    print(client.engines.list()[0].name, towline.__version__)
ours = {"api", "shared", "worker", "tests"} & {name.partition(".")[0] for name in sys.modules}
assert not ours, ours
"""


def imported(file: Path) -> set[str]:
    """The packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_the_client_needs_httpx_alone() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if "cli" not in path.parts]
    needed = set().union(*map(imported, files)) - sys.stdlib_module_names
    assert needed == {"httpx", "towline"}


def test_client_and_service_have_one_version() -> None:
    assert client_version == __version__


@pytest.mark.slow
def test_the_client_works_when_it_is_all_that_is_installed(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [python, *command], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "pip", "install", "--quiet", str(REPOSITORY / "client"))
    assert run("-c", PROGRAM).split() == ["warp", client_version]
    place = run("-c", "import towline; print(towline.__file__)").strip()
    assert Path(place).is_relative_to(tmp_path)
    assert Path(place).with_name("py.typed").exists()

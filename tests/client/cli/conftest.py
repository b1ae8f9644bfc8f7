"""The command line, in this process on the fake, or in one of its own on a fake at an address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.client.cli.faked import FakedServer
from towline.cli.app import run
from towline.testing import FakeTowline

REPOSITORY = Path(__file__).parents[3]
KEY = "tow_a_b"


@dataclass
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


@dataclass
class Command:
    """`towline` in a process of its own."""

    url: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    key: str = KEY

    def start(self, *arguments: str, code: str = "", **options: Any) -> subprocess.Popen[str]:
        """code: run before, in the same process."""
        program = ["-c", f"{code}\nfrom towline.cli import main; main()"]
        clean = {name: value for name, value in os.environ.items() if "TOWLINE_" not in name}
        chosen = {
            "TOWLINE_URL": self.url,
            "TOWLINE_API_KEY": self.key,
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PYTHONPATH": str(REPOSITORY / "client"),
            "NO_PROXY": "127.0.0.1",
        }
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.folder,
            env=clean | chosen | self.environment,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(self, *arguments: str, code: str = "", **options: Any) -> Ran:
        """To its end."""
        process = self.start(*arguments, code=code, **options)
        out, err = process.communicate(timeout=60)
        return Ran(process.returncode, out, err)


@pytest.fixture
def fake() -> FakeTowline:
    return FakeTowline()


@pytest.fixture
def server() -> Iterator[FakedServer]:
    server = FakedServer()
    yield server
    server.close()


@pytest.fixture
def command(server: FakedServer, tmp_path: Path) -> Command:
    return Command(server.url, tmp_path)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of settings, empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def cli(
    fake: FakeTowline,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Ran]:
    """`towline` in this process, on the fake, in an empty folder."""
    monkeypatch.setenv("TOWLINE_API_KEY", KEY)
    monkeypatch.setenv("TOWLINE_URL", "https://towline.test")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(each) for each in arguments], transport=fake)
        return Ran(code, *capsys.readouterr())

    return call

"""Command lines in processes of their own that begin at once: forked from one that has everything
imported. Where a hundred of them are killed, starting Python a hundred times would take minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.client.cli.forked", "towline.cli.app", "towline.aio"])
LIMIT_S = 60.0


@cache
def _begin() -> None:
    """What is imported before is looked for by the environment alone (until Python 3.13)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'client'}")
        forkserver.ensure_running()


def enter(arguments: Sequence[str], folder: Path, environment: dict[str, str], code: str) -> None:
    """Be that command line."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["towline", *arguments]
    exec(code, {})  # noqa: S102 - ours
    from towline.cli import main

    main()


@dataclass
class Forked:
    """One of them."""

    process: ForkServerProcess
    folder: Path

    @classmethod
    def start(
        cls, arguments: Sequence[str], folder: Path, environment: dict[str, str], code: str = ""
    ) -> Forked:
        _begin()
        process = _CONTEXT.Process(target=enter, args=(arguments, folder, environment, code))
        process.start()
        return cls(process, folder)

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it said."""
        self.process.join(LIMIT_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"it does not end: {(self.folder / 'stderr').read_text()}")
        return self.process.exitcode, (self.folder / "stderr").read_text()

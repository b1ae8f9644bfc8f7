"""A look for secrets in all that the tests and their processes say.

A plugin of pytest. What tests and processes print or log (the captured sections of each test,
and each `*.log` under the temporary folder of the session) is searched for

- the values of `tests/planted.py`, which stand for the secrets of an operator;
- whatever looks like an API key or a webhook secret, whoever made it;
- the secrets that embedded services made for themselves (`HOME/key`, `HOME/secret`).

One found fails the run, whatever the tests say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.planted import PLANTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

LOOKS_SECRET = re.compile(
    rb"tow_[0-9a-f]{16}" + rb"_[0-9A-Za-z]{43}|whsec" + rb"_[0-9A-Za-z+/=]{24,}"
)
MADE = ("key", "secret")  #: files of an embedded home
FOUND_STATUS = 1


class Watch:
    """What was found so far, each leak by where it is, never by what it is."""

    def __init__(self) -> None:
        self.leaks: list[str] = []

    def look(self, said: bytes, where: str, also: Iterable[bytes] = ()) -> None:
        for secret in (*(value.encode() for value in PLANTED), *also):
            if secret in said:
                self.leaks.append(f"{where}: a planted secret")
        if LOOKS_SECRET.search(said):
            self.leaks.append(f"{where}: an API key or a webhook secret")

    def look_through(self, folder: Path) -> None:
        made = [secret for name in MADE for secret in _contents(folder, name)]
        for path in folder.rglob("*.log"):
            if path.is_file() and not path.is_symlink():
                self.look(path.read_bytes(), str(path.relative_to(folder)), made)


def _contents(folder: Path, name: str) -> Iterator[bytes]:
    for path in folder.rglob(name):
        if path.is_file() and len(secret := path.read_bytes().strip()) >= 16:
            yield secret


_watch = Watch()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What was captured of one phase of a test."""
    for title, text in report.sections:
        _watch.look(text.encode(), f"{report.nodeid}: {title}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What processes logged; a leak fails the run."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None:
        _watch.look_through(factory.getbasetemp())
    if _watch.leaks:
        session.exitstatus = FOUND_STATUS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where they are."""
    if _watch.leaks:
        terminalreporter.section("secrets in the output", red=True)
        for leak in sorted(set(_watch.leaks)):
            terminalreporter.line(leak)

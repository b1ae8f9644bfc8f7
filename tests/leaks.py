"""A look for secrets in all that the tests and their processes say.

A plugin of pytest. What tests and processes print or log is searched:

- the captured sections of each test, the tracebacks of those that fail, and warnings;
- each log under the temporary folder of the session, at its end;
- each log in a folder that goes with its fixture (in memory, `/dev/shm`): `search.refuse`,
  which the fixture calls before the folder goes;

and it is searched for

- the values of `tests/planted.py`, which stand for the secrets of an operator;
- whatever looks like an API key or a webhook secret, whoever made it;
- the secrets that embedded services made for themselves (`HOME/key`, `HOME/secret`).

One found fails the run, whatever the tests say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.search import Watch

if TYPE_CHECKING:
    import warnings

    import pytest

FOUND_STATUS = 1

_watch = Watch()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What was captured of one phase of a test, and why it failed."""
    said = [*report.sections, ("traceback", report.longreprtext)]
    for title, text in said:
        _watch.look(text.encode(), f"{report.nodeid}: {title}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Why a file of tests could not be read."""
    _watch.look(report.longreprtext.encode(), f"{report.nodeid}: traceback")


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """What is summed up at the end."""
    _watch.look(str(warning_message.message).encode(), f"{nodeid}: a warning")


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

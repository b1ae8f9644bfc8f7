"""Which test failed, said when it fails.

A plugin of pytest. A quiet run names its failures at its end, and a run that is stopped from
outside has no end. With xdist it is the controller that hears of every test.
"""

from __future__ import annotations

import os
import time

import pytest

_started = time.monotonic()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line for a test, its set-up or its end that failed."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        after = time.monotonic() - _started
        print(f"\n[{after:.0f} s] failed: {report.nodeid} ({report.when})", flush=True)

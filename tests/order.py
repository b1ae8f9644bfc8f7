"""Which files come first where several processes share them: those that take longest.

A plugin of pytest. A file is one process's; one of minutes that begins last keeps the others
waiting. (xdist would begin with those of many tests, which are the quick ones.)
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

#: Each more than a minute on two cores.
LONGEST = (
    "test_http_lightningdrag.py",
    "test_embedded_service.py",
    "test_one_trace.py",
    "test_cli_batch_kills.py",
    "test_run_job_s3.py",
    "test_orphan_windows.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them, a file's together as they were."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))

    def place(path: Path) -> tuple[int, int]:
        known = LONGEST.index(path.name) if path.name in LONGEST else len(LONGEST)
        return known, -slow[path]

    items.sort(key=lambda item: place(item.path))

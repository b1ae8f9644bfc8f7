"""Without the recorded edits nothing is compared; one thread, which is what the tests are given."""

from __future__ import annotations

import pytest

from tests.golden.place import IS_THERE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the recorded edits where there are none."""
    for item in items:
        if not IS_THERE and item.path.parent.name == "golden":
            reason = "neither tests/golden/data nor ../shared/golden is there"
            item.add_marker(pytest.mark.skip(reason=reason))

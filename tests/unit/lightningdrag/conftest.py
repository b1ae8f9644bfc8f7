"""What needs the tiny model is skipped where it is not."""

from __future__ import annotations

import pytest

from tests.golden.place import IS_THERE


@pytest.fixture
def golden() -> None:
    """Skips the test where the golden data are not there."""
    if not IS_THERE:
        pytest.skip("neither tests/golden/data nor ../shared/golden is there")

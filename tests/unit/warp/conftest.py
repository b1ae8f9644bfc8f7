"""Pictures and masks for the warp engine's tests: made here, small, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engines.warp.engine import WarpEngine


@pytest.fixture
def engine() -> WarpEngine:
    return WarpEngine()


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """160 x 120 (width x height), RGB, smooth and with something to see everywhere."""
    y, x = np.mgrid[0:120, 0:160].astype(float)
    waves = [np.sin(x / 5 + c) + np.cos(y / (4 + c)) + np.sin((x + y) / 9) for c in range(3)]
    return np.clip(128 + 42 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


@pytest.fixture
def mask() -> NDArray[np.bool_]:
    """An ellipse in the middle of the picture."""
    y, x = np.mgrid[0:120, 0:160]
    return ((x - 80) / 60) ** 2 + ((y - 60) / 45) ** 2 < 1

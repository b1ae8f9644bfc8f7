"""Engines by name."""

from __future__ import annotations

import importlib.util

import pytest

from shared.engines import ENGINES as SPECS
from shared.settings import Settings
from worker.engines.base import EngineUnusable
from worker.engines.registry import ENGINES, load_engine


def test_every_engine_that_is_offered_can_be_built_and_no_other() -> None:
    assert ENGINES.keys() == SPECS.keys()


def test_a_package_that_is_missing_is_named() -> None:
    if importlib.util.find_spec("torch"):
        pytest.skip("torch is installed")
    with pytest.raises(EngineUnusable, match="needs the Python package torch"):
        load_engine("lightningdrag", Settings())

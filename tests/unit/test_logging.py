"""What the log must not hold."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from shared.settings import Settings
from shared.telemetry.logging import set_up_logging


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("_logging_as_before")
def test_a_trace_shows_no_local_values_when_an_error_is_logged(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(Settings(log_format=form))
    planted = "tow_" + "planted"
    try:
        raise ValueError(f"length {len(planted)}")
    except ValueError:
        structlog.get_logger().exception("unforeseen_error")
    logged = capsys.readouterr().err
    assert "ValueError: length 11" in logged
    assert planted not in logged

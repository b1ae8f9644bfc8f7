"""The sample decides whether a start was good; API and workers are stand-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.embedded.conftest import Start

pytestmark = pytest.mark.slow


def test_once_ends_with_status_0_when_the_picture_is_right(start: Start) -> None:
    service = start("--once")
    assert service.process.wait(60) == 0, service.said
    assert (service.home / "sample-result.png").stat().st_size > 1000
    assert f"{service.url}/docs" in service.said
    assert service.key in service.said
    assert service.family() == []


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("outside", "pixels changed outside the mask"),
        ("unchanged", "nothing changed inside the mask"),
        ("other bytes", "sha256 differs"),
        ("failed", "the sample edit failed: {'code': 'engine_failed'}"),
    ],
)
def test_once_ends_with_status_1_and_one_line_when_the_picture_is_wrong(
    start: Start, behaviour: str, message: str
) -> None:
    service = start("--once", STANDIN_API=behaviour)
    assert service.process.wait(60) == 1
    assert message in service.said
    assert "stand-in worker" in service.said  # the end of the worker's log
    assert "Traceback" not in service.said
    assert service.family() == []


def test_service_stays_up_when_the_sample_is_wrong_and_nobody_asked_to_end(start: Start) -> None:
    service = start(STANDIN_API="unchanged")
    service.wait_for("the service stays up")
    assert service.child("api").is_alive()
    assert service.stop() == 0


def test_start_ends_with_one_line_and_the_log_when_the_api_keeps_ending(start: Start) -> None:
    service = start(STANDIN_API="broken")
    assert service.process.wait(60) == 1
    assert "api keeps ending (status 1)" in service.said
    assert "this API cannot start" in service.said  # the end of its log
    assert "Traceback" not in service.said
    assert service.family() == []


def test_start_ends_with_one_line_and_the_log_when_a_worker_keeps_ending(start: Start) -> None:
    service = start("--once", STANDIN_API="never done", STANDIN_WORKER="broken")
    assert service.process.wait(60) == 1
    assert "keeps ending (status 1)" in service.said
    assert "this worker cannot start" in service.said
    assert service.family() == []

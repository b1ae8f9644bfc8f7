"""Whoever ends the service, and whenever: nothing is left; with stand-ins."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.embedded.conftest import Start

pytestmark = pytest.mark.slow


NOTHING_LEFT_S = 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_when_it_is_told_to_end(start: Start, number: int) -> None:
    service = start()
    service.wait_until_up()
    family = service.family()
    assert len(family) >= 7  # supervisor, broker, API and its worker, two workers, beat
    assert service.stop(number, NOTHING_LEFT_S) == 0
    assert [each for each in family if each.is_alive()] == []
    assert list((service.home / "run").iterdir()) == []


def test_nothing_is_left_when_ctrl_c_reaches_the_whole_foreground_group(start: Start) -> None:
    service = start()
    service.wait_until_up()
    family = service.family()
    os.killpg(service.process.pid, signal.SIGINT)
    assert service.process.wait(NOTHING_LEFT_S) == 0
    assert [each for each in family if each.is_alive()] == []
    assert "ended (" not in service.said  # no child had its own idea of when to end


def test_nothing_is_left_when_workers_and_their_children_ignore_sigterm(start: Start) -> None:
    service = start(STANDIN_WORKER="stubborn")
    service.wait_until_up()
    family = service.family()
    assert service.stop(limit_s=NOTHING_LEFT_S) == 0
    assert [each for each in family if each.is_alive()] == []


def test_second_signal_makes_the_end_quicker(start: Start) -> None:
    service = start(STANDIN_WORKER="stubborn")
    service.wait_until_up()
    family = service.family()
    service.process.send_signal(signal.SIGINT)
    time.sleep(1)
    began_s = time.monotonic()
    assert service.stop(signal.SIGINT) == 0
    assert time.monotonic() - began_s < 3
    assert [each for each in family if each.is_alive()] == []


@pytest.mark.parametrize("after_s", [0.2, 0.5, 0.8, 1.1, 1.5])
def test_nothing_is_left_when_it_is_told_to_end_during_its_start(
    start: Start, after_s: float
) -> None:
    service = start(STANDIN_API="never ready")
    time.sleep(after_s)
    family = service.family()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(NOTHING_LEFT_S) in (0, -signal.SIGTERM)  # before it could listen
    assert [each for each in family if each.is_alive()] == []
    assert service.family() == []


def test_once_does_not_end_with_status_0_when_it_is_stopped_before_the_sample(start: Start) -> None:
    service = start("--once", STANDIN_API="never done")
    service.wait_for("starting api")
    time.sleep(2)
    assert service.stop() == 1
    assert "stopped before the sample was done" in service.said

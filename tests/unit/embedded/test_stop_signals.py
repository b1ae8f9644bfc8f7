"""What counts as a wish to end, and as a second one."""

import os
import signal
from collections.abc import Iterator

import pytest

from infra.embedded import stop
from infra.embedded.stop import StopSignals

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _keep_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_signal_is_counted_and_interrupts_nothing(number: int) -> None:
    signals = StopSignals()
    signals.listen()
    os.kill(os.getpid(), number)
    assert signals.count == 1


def test_one_wish_counts_once_when_it_comes_twice_at_once() -> None:
    signals = StopSignals()
    signals.listen()
    os.kill(os.getpid(), signal.SIGINT)  # to the process group
    os.kill(os.getpid(), signal.SIGTERM)  # passed on by make
    assert signals.count == 1


def test_second_wish_counts_when_it_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "ONE_WISH_S", 0.0)
    signals = StopSignals()
    signals.listen()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    assert signals.count == 2


def test_hangup_stays_ignored_when_it_was_ignored_before() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = StopSignals()
    signals.listen()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.count == 0

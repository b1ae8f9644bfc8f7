"""Requests per second, counted by a real Valkey; and what happens while it is away."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from shared.accounts import limiter as module
from shared.accounts.limiter import KEY, Limiter, Verdict
from tests.broker import Valkey, free_port
from tests.crowd import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    import structlog


@pytest.fixture(autouse=True)
def _slow_machines_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 5.0)


@pytest.fixture
def limiter(broker: Valkey) -> Limiter:
    return Limiter(broker.url)


def spent_us(broker: Valkey, account: str) -> float:
    """How far what an account has asked for reaches beyond the server's clock."""
    with broker.client() as client:
        seconds, micros = client.time()
        return float(client.get(KEY + account) or 0) - (seconds * 1e6 + micros)


def test_a_seconds_worth_passes_at_once_and_the_next_is_told_when_to_come(
    limiter: Limiter,
) -> None:
    """At one in a second even a slow machine is quick enough for this."""
    first = limiter.ask("acc", 1)
    second = limiter.ask("acc", 1)
    assert first == Verdict(passes=True, left=0, more_in_s=1)
    assert second == Verdict(passes=False, left=0, more_in_s=1)
    assert limiter.ask("another", 1) == first


def test_exactly_the_limit_passes_when_many_ask_in_one_moment(
    limiter: Limiter, broker: Valkey
) -> None:
    begun = time.monotonic()
    asked = in_threads(limiter.ask, [("acc", 20)] * 16) + [
        limiter.ask("acc", 20) for _ in range(40)
    ]
    took_s = time.monotonic() - begun
    assert all(asked)
    passed = sum(verdict.passes for verdict in asked if verdict)
    assert 20 <= passed <= 20 + int(took_s * 20) + 1
    refused = [verdict for verdict in asked if verdict and not verdict.passes]
    assert {(verdict.left, verdict.more_in_s) for verdict in refused} <= {(0, 1)}
    assert limiter.unchecked == 0


def test_what_is_left_goes_down_by_one_and_comes_back_with_time(
    limiter: Limiter, broker: Valkey
) -> None:
    """No clock of ours: what time gives back is taken from the stored number."""
    left = [verdict.left for _ in range(3) if (verdict := limiter.ask("acc", 1000))]
    assert left[0] == 999
    assert 1_000_000 - spent_us(broker, "acc") >= 0
    with broker.client() as client:  # as if all but half a second of it were over
        seconds, micros = client.time()
        client.set(KEY + "acc", seconds * 1_000_000 + micros + 500_000)
    after = limiter.ask("acc", 1000)
    assert after is not None
    assert 498 <= after.left <= 900


@pytest.mark.parametrize("limit", [1, 3, 7, 999, 1000, 100_000, 5_000_000])
def test_a_full_quota_lets_its_first_through_when_the_limit_is_odd(
    limiter: Limiter, limit: int
) -> None:
    verdict = limiter.ask(f"acc {limit}", limit)
    assert verdict == Verdict(passes=True, left=limit - 1, more_in_s=1)


def test_nothing_is_kept_of_an_account_that_has_its_whole_quota_again(
    limiter: Limiter, broker: Valkey
) -> None:
    limiter.ask("acc", 5)
    with broker.client() as client:
        assert 0 < client.pttl(KEY + "acc") <= 202


def test_requests_pass_and_are_counted_when_redis_is_away(
    broker: Valkey, limiter: Limiter, log_of_limiter: list[structlog.typing.EventDict]
) -> None:
    assert limiter.ask("acc", 1) is not None
    broker.kill()
    assert [limiter.ask("acc", 1) for _ in range(50)] == [None] * 50
    assert limiter.unchecked == 50
    assert len(log_of_limiter) <= 3, "one line a second at the most"
    broker.ensure()
    until_s = time.monotonic() + 10
    while limiter.ask("acc", 1) is None:
        assert time.monotonic() < until_s
        time.sleep(0.02)
    counted = limiter.unchecked
    limiter.ask("acc", 1)
    assert limiter.unchecked == counted


def test_requests_pass_when_nobody_ever_listened() -> None:
    limiter = Limiter(f"redis://127.0.0.1:{free_port()}/0")
    assert limiter.ask("acc", 1) is None
    assert limiter.unchecked == 1


@pytest.fixture
def frozen(broker: Valkey) -> Iterator[Valkey]:
    """It takes connections and answers nobody."""
    process = broker._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    yield broker
    process.send_signal(signal.SIGCONT)


def test_few_wait_and_none_for_long_when_redis_is_frozen(
    frozen: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    limiter = Limiter(frozen.url)
    waited: Counter[bool] = Counter()
    for _ in range(100):
        begun = time.monotonic()
        assert limiter.ask("acc", 1) is None
        waited[time.monotonic() - begun > 0.1] += 1
    assert waited[True] <= 10, "one in a second, and the other ninety not at all"
    assert limiter.unchecked == 100


@pytest.fixture
def log_of_limiter(
    monkeypatch: pytest.MonkeyPatch,
) -> list[structlog.typing.EventDict]:
    """What the limiter logs, as it is written."""
    import structlog

    written: list[structlog.typing.EventDict] = []

    def keep(_logger: object, _name: str, event: structlog.typing.EventDict) -> object:
        written.append(event)
        raise structlog.DropEvent

    monkeypatch.setattr(module, "log", structlog.wrap_logger(None, processors=[keep]))
    return written

"""What the storm holds deliveries to: it must see a try that is late, and one that is early."""

from __future__ import annotations

import pytest

from benchmarks.webhook_schedule import WAITS_S, Outage, Rules, Try, early_tries, latest
from shared.webhooks.schedule import DELAYS_S, next_delay_s

RULES = Rules(scale=0.01, lease_s=2.0, margin_s=10.0)


def failed(began: float, *, took_s: float = 0.1, retry_after_s: float = 0.0) -> Try:
    return Try(began, began + took_s, False, retry_after_s)


def test_the_schedule_is_the_one_that_the_product_keeps() -> None:
    assert WAITS_S == DELAYS_S
    for number in range(1, len(WAITS_S)):
        least, most = RULES.waits_s(number, failed(0))
        kept = [next_delay_s(number, scale=0.01, spread=spread) or 0 for spread in (-1, 0, 1)]
        assert least == pytest.approx(kept[0])
        assert most == pytest.approx(kept[2])


def test_a_message_may_come_when_its_waits_are_over_and_not_later() -> None:
    assert latest(100, [], [], RULES) == 110
    tries = [failed(100, took_s=1), failed(102, retry_after_s=20), Try(130, 130.1, True)]
    assert latest(100, tries, [], RULES) == pytest.approx(110 + 1 + 0.055 + 0.1 + 20)


def test_each_death_of_the_worker_meanwhile_gives_it_an_outage_and_a_lease() -> None:
    before, meanwhile, after = Outage(80, 90), Outage(105, 108), Outage(500, 510)
    assert latest(100, [], [before, meanwhile, after], RULES) == 110 + 3 + 2
    assert latest(100, [], [Outage(104, 109), Outage(116, 117)], RULES) == 110 + 5 + 2 + 1 + 2


def test_a_try_is_early_when_its_wait_was_not_over() -> None:
    waited = 300 * 0.01 * 0.9
    first, second = failed(100), failed(101)
    assert early_tries([first, second, failed(second.ended + waited)], RULES) == 0
    assert early_tries([first, second, failed(second.ended + waited - 0.1)], RULES) == 1
    assert early_tries([failed(100, retry_after_s=5), failed(104)], RULES) == 1
    assert early_tries([first], RULES) == 0

"""When a message is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from shared.webhooks.schedule import DELAYS_S, next_delay_s, retry_after_s

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR_S = 3600


def test_there_are_ten_tries_over_75_hours_and_35_minutes() -> None:
    waits = [next_delay_s(tries, spread=0) for tries in range(10)]
    assert waits == [0, 5, 300, 1800, *(h * HOUR_S for h in (2, 5, 10, 14, 20, 24))]
    assert sum(DELAYS_S) == 75 * HOUR_S + 35 * 60 + 5
    assert next_delay_s(10) is None


def test_waits_differ_by_a_tenth_at_the_most_when_they_are_jittered() -> None:
    waits = {next_delay_s(2) for _ in range(50)}
    assert len(waits) > 40
    assert all(270 <= wait <= 330 for wait in waits)  # type: ignore[operator]


def test_every_wait_is_shorter_when_time_is_compressed() -> None:
    assert next_delay_s(3, scale=0.001, spread=0) == 1.8
    assert next_delay_s(1, scale=0.001, spread=0, retry_after_s=1e9) == pytest.approx(86.4)


@pytest.mark.parametrize(
    ("asked_s", "expected_s"), [(0, 300), (10, 300), (4000, 4000), (10**9, 86_400)]
)
def test_a_wait_is_longer_and_never_shorter_when_the_receiver_asks(
    asked_s: float, expected_s: float
) -> None:
    assert next_delay_s(2, spread=0, retry_after_s=asked_s) == expected_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), 0),
        ("Tue, 24 Nov 2026 12:00:07 -0000", 7),
        (None, 0), ("", 0), ("soon", 0), ("-1", 0), ("1.5", 0), ("1e9", 0), ("9" * 30, 0),
        ("Tue, 99 Nov 2026 12:00:07 GMT", 0), ("٣", 0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2027 00:00:00 +99999999999999999999", 0),
    ],
)  # fmt: skip
def test_a_retry_after_is_read_in_both_forms_and_nothing_else(
    value: str | None, seconds: float
) -> None:
    assert retry_after_s(value, NOW) == seconds

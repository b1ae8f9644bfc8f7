"""Windows and breakers, by a clock of the test's own."""

from __future__ import annotations

import pytest

from worker.receivers import FIRST_WINDOW, LONGEST_PAUSE_S, TRIPS_AT, Receivers

A, B = "acc_a/ep_1", "acc_b/ep_1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receivers(clock: Clock) -> Receivers:
    return Receivers(total=20, each=6, slow_s=5, clock=clock)


def send(receivers: Receivers, lane: str, *, is_success: bool | None, took_s: float = 0.1) -> None:
    receivers.enter(lane)
    receivers.leave(lane, is_success=is_success, took_s=took_s)


def trip(receivers: Receivers, lane: str) -> None:
    for _ in range(TRIPS_AT):
        send(receivers, lane, is_success=False)


def test_a_window_opens_with_successes_and_halves_with_what_is_slow(receivers: Receivers) -> None:
    assert receivers.room(A) == FIRST_WINDOW
    rooms = []
    receivers.enter(A)  # something stays on its way, so that the lane is remembered
    for is_success, took_s in ((True, 1), (True, 1), (True, 1), (True, 1), (True, 1), (True, 14),
                               (False, 1), (False, 15), (False, 15)):  # fmt: skip
        send(receivers, A, is_success=is_success, took_s=took_s)
        rooms.append(receivers.room(A) + 1)
    assert rooms == [3, 4, 5, 6, 6, 3, 3, 1, 1]


def test_what_is_on_its_way_takes_room_from_its_own_lane_alone(receivers: Receivers) -> None:
    receivers.enter(A)
    receivers.enter(A)
    assert (receivers.room(A), receivers.room(B), receivers.free) == (0, FIRST_WINDOW, 18)


def test_a_breaker_opens_after_failures_and_lets_one_through_when_its_pause_is_over(
    receivers: Receivers, clock: Clock
) -> None:
    trip(receivers, A)
    assert (receivers.room(A), receivers.room(B)) == (0, FIRST_WINDOW)
    clock.now += 1.01
    assert receivers.room(A) == 1
    receivers.enter(A)
    assert receivers.room(A) == 0  # one, to see whether it is back
    receivers.leave(A, is_success=False)
    clock.now += 1.01
    assert receivers.room(A) == 0  # the second pause is twice as long
    clock.now += 1.01
    assert receivers.room(A) == 1


def test_a_breaker_closes_when_the_receiver_is_back(receivers: Receivers, clock: Clock) -> None:
    trip(receivers, A)
    clock.now += 2
    send(receivers, A, is_success=True)
    assert receivers.room(A) > 1
    send(receivers, A, is_success=False)
    assert receivers.room(A) >= 1


def test_a_pause_has_an_end_when_a_receiver_never_comes_back(
    receivers: Receivers, clock: Clock
) -> None:
    trip(receivers, A)
    for _ in range(2000):
        clock.now += LONGEST_PAUSE_S + 0.01
        assert receivers.room(A) == 1
        send(receivers, A, is_success=False)


def test_a_breaker_stays_as_it_is_when_nobody_knows_what_became_of_a_message(
    receivers: Receivers,
) -> None:
    for _ in range(TRIPS_AT):
        send(receivers, A, is_success=None)
    assert receivers.room(A) == FIRST_WINDOW


def test_an_account_has_at_most_half_whatever_it_names(receivers: Receivers) -> None:
    for number in range(5):
        for _ in range(2):
            receivers.enter(f"acc_a/host{number}")
    assert receivers.room("acc_a/host9") == 0
    assert receivers.room(B) == FIRST_WINDOW
    receivers.leave("acc_a/host0", is_success=True)
    assert receivers.room("acc_a/host9") == 1


def test_nothing_is_remembered_when_everybody_does_well(receivers: Receivers) -> None:
    for number in range(100):
        for _ in range(8):
            send(receivers, f"acc_{number}/ep", is_success=True)
    assert not receivers._lanes
    assert not receivers._accounts
    assert receivers.free == 20


def test_no_more_than_so_many_receivers_are_remembered_whatever_an_account_names(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.receivers.KEPT", 50)
    trip(receivers, A)
    for n in range(49):
        send(receivers, f"acc_b/host{n}", is_success=n % 2 == 0)
    assert receivers.room(A) == 0  # remembered
    receivers.enter(B)
    for n in range(200):
        send(receivers, f"acc_c/host{n}", is_success=n % 2 == 0)
    assert len(receivers._lanes) <= 51
    assert receivers.room(B) == FIRST_WINDOW - 1  # what is on its way is counted

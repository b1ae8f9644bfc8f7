"""How long the supervisor waits before it starts something again."""

from infra.embedded.child import Backoff


def test_waits_double_up_to_five_seconds_when_a_child_keeps_ending_at_once() -> None:
    backoff = Backoff()
    waits = [backoff.after(ran_s=0.1) for _ in range(7)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_wait_is_short_again_when_the_child_ran_for_ten_seconds() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(ran_s=0.1)
    assert backoff.after(ran_s=10.0) == 0.2
    assert backoff.after(ran_s=0.1) == 0.4


def test_wait_stays_bounded_when_a_child_has_ended_very_often() -> None:
    backoff = Backoff(quick_ends=5000)
    assert backoff.after(ran_s=0.1) == 5.0

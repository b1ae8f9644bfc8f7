"""The storm of `benchmarks/webhooks.py`, a small one: it fails if one event does not arrive."""

from __future__ import annotations

import pytest

from benchmarks.webhooks import storm

pytestmark = pytest.mark.slow


def test_every_event_arrives_under_one_id_when_receiver_and_worker_fail_all_the_time() -> None:
    storm(events=120, endpoints=2, kill_every_s=1.0, down_s=2.0, kills=2)

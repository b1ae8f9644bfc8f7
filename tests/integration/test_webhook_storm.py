"""The storm of `benchmarks/webhooks.py`, a small one: it fails if an event is lost or late."""

from __future__ import annotations

import pytest

from benchmarks.webhooks import storm
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.slow


def test_every_event_arrives_in_time_under_one_id_when_receiver_and_worker_fail_all_the_time(
    postgres: Postgres,
) -> None:
    storm(120, 2, postgres, margin_s=60, kill_every_s=1.0, down_s=2.0, kills=2)

"""What beat says of itself: whether its messages reach Redis."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from tests.broker import free_port
from tests.crew import Crew, wait_until
from worker import health
from worker.health import BeatHealth

pytestmark = pytest.mark.slow


def test_beat_is_ready_while_it_sends_and_not_when_it_has_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "SLACK_S", 0.0)
    beat = BeatHealth(every_s=0.01)
    assert beat.ready()[0] == 200
    time.sleep(0.06)
    assert beat.ready()[0] == 503
    beat.sent(sender="towline.sweep")
    assert beat.ready()[0] == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_beat_tells_of_each_message_that_redis_took(start_crew: Callable[..., Crew]) -> None:
    crew = start_crew(sweep_s=0.3, worker_port=free_port())
    beat = crew.start("worker", "beat")
    url = f"http://127.0.0.1:{crew.services.settings.worker_port}/readyz"

    def silent_s() -> float | None:
        try:
            answer = httpx.get(url, trust_env=False)
        except httpx.TransportError:
            return None
        assert answer.status_code == 200
        return float(answer.json()["checks"]["sent"]["silent_s"])

    wait_until(lambda: silent_s() is not None, said=beat.log.read_text())
    time.sleep(1)
    assert max(silent_s() or 0 for _ in range(10)) < 0.8

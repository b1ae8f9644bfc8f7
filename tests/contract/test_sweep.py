"""A sweep as a whole: what is urgent does not wait for what is slow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.jobs.state import JobState
from shared.objects import ObjectStore
from shared.orphans import Orphans
from shared.services import Services
from tests.factories import Factory, let_pass
from worker.sweep import sweep


class Stuck:
    """A storage that does not answer until it is told to."""

    def __init__(self) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()
        self.calls = 0

    def walk(self, *_: Any) -> list[Any]:
        self.calls += 1
        self.asked.set()
        assert self.answer.wait(30)
        return []


@pytest.fixture
def stuck() -> Stuck:
    return Stuck()


def test_leases_are_taken_back_when_the_storage_keeps_another_sweep_waiting(
    services: Services, make: Factory, stuck: Stuck
) -> None:
    objects: ObjectStore = stuck  # type: ignore[assignment]
    orphans = Orphans(services.database, objects, grace_s=1)
    slow: Callable[[], None] = lambda: sweep(replace(services, orphans=orphans))  # noqa: E731
    waiting = threading.Thread(target=slow)
    waiting.start()
    assert stuck.asked.wait(30)
    job = make.running(timeout_s=86_400)
    let_pass(services.database, 601)
    slow()  # does not wait
    assert services.jobs.get(job.account_id, job.id).status is JobState.QUEUED
    assert stuck.calls == 1
    stuck.answer.set()
    waiting.join(30)
    slow()
    assert stuck.calls == 2

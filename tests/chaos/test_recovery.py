"""The part of the oracle that looks at the clock, on evidence made by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.chaos.director import Played
from tests.chaos.evidence import Event, Evidence
from tests.chaos.faults import APIS, BEAT, IO, WORKERS, Fault
from tests.chaos.recovery import Felt, feel
from tests.chaos.stage import Times

TIMES = Times(lease_s=10, heartbeat_s=1, sweep_s=0.5)
END = 100.0
CLAIM = {"event": "job_claimed"}
SIGNS = {
    **dict.fromkeys(WORKERS, "job_claimed"),
    IO: "sweep_unasked",
    BEAT: "Scheduler: Sending due task",
}


def _signs(silent: dict[str, tuple[float, float]]) -> list[tuple[str, dict[str, Any]]]:
    """Everybody gives a sign of life once a second, but for those that are silent for a time."""
    said = []
    for name, event in SIGNS.items():
        begin, end = silent.get(name, (END, END))
        for at in range(int(END)):
            if not begin <= at < end:
                stamp = datetime.fromtimestamp(at, UTC).isoformat()
                said.append((name, {"event": event, "timestamp": stamp}))
    return said


def _feel(
    *played: Played,
    events: dict[str, list[Event]] | None = None,
    silent: dict[str, tuple[float, float]] | None = None,
) -> Felt:
    evidence = Evidence([], {}, events or {}, {}, {}, {}, {})
    evidence.said = _signs(silent or {})
    probes = {name: [float(at) for at in range(int(END))] for name in APIS}
    return feel(evidence, list(played), probes, TIMES, END, END, patience_s=0.0)


def _killed_with_a_job(at: float) -> Played:
    return Played(Fault(at, "kill", "worker-1"), at, at + 1, 1, [("job_1", 1)])


def _life(*claims: float) -> dict[str, list[Event]]:
    """Of a job that was claimed at these times, and put back before each but the first."""
    events = [Event("queued", 0, 0.0)]
    for attempt, at in enumerate(claims, 1):
        events.append(Event("running", attempt, at))
    return {"job_1": [*events, Event("succeeded", len(claims), claims[-1] + 1)]}


def test_a_job_is_late_when_its_worker_was_killed_more_than_its_share_of_a_lease_ago() -> None:
    felt = _feel(_killed_with_a_job(20), events=_life(19, 31.9))
    assert [round(reclaim.took_s, 1) for reclaim in felt.reclaims] == [11.9]
    assert felt.violations == []
    felt = _feel(_killed_with_a_job(20), events=_life(19, 32.1))
    assert [violation.kind for violation in felt.violations] == ["late"]


@pytest.mark.parametrize(("began_at", "allowed"), [(31.0, True), (22.0, False)])
def test_an_outage_counts_for_a_job_when_its_lease_was_over_by_then(
    began_at: float, allowed: bool
) -> None:
    outage = Played(Fault(began_at, "freeze", "postgres", 1.5), began_at, began_at + 1.5)
    felt = _feel(_killed_with_a_job(20), outage, events=_life(19, 33.0))
    assert (felt.violations == []) is allowed


def test_no_job_is_late_when_it_had_ended_before_its_worker() -> None:
    ended = {
        "job_1": [Event("queued", 0, 0.0), Event("running", 1, 19.0), Event("failed", 1, 20.5)]
    }
    felt = _feel(_killed_with_a_job(20), events=ended)
    assert felt.reclaims == []
    assert felt.violations == []


def test_a_worker_is_late_when_it_claims_nothing_after_a_server_came_back() -> None:
    flush = Played(Fault(20, "flush", "redis"), 20, 20)
    assert _feel(flush).violations == []
    felt = _feel(flush, silent={"worker-2": (19, 60)})
    assert [violation.subject for violation in felt.violations] == ["worker-2"]


def test_a_worker_is_excused_when_it_is_killed_before_its_time_is_over() -> None:
    flush = Played(Fault(20, "flush", "redis"), 20, 20)
    kill = Played(Fault(30, "kill", "worker-2"), 30, 31, 1)
    assert _feel(flush, kill, silent={"worker-2": (19, 40)}).violations == []
    felt = _feel(flush, kill, silent={"worker-2": (19, 99)})
    assert [violation.kind for violation in felt.violations] == ["late"]

"""Which events an endpoint is told of."""

from __future__ import annotations

import pytest

from shared.jobs.state import FINAL
from shared.webhooks.events import FILTERS, JOB_EVENTS, filter_violations, job_event, matches


@pytest.mark.parametrize(
    ("filters", "event", "expected"),
    [
        (["*"], "job.failed", True),
        (["job.*"], "job.failed", True),
        (["job.failed"], "job.failed", True),
        (["job.failed", "job.*"], "job.failed", True),
        (["job.succeeded"], "job.failed", False),
        (["job.*"], "endpoint.disabled", False),
        (["endpoint.disabled"], "endpoint.disabled", True),
        (["batch.*"], "batch.completed", True),  # nothing here knows the subjects
        (["job."], "job.failed", False),
        ([], "job.failed", False),
    ],
)
def test_an_event_is_wanted_when_a_filter_names_it(
    filters: list[str], event: str, *, expected: bool
) -> None:
    assert matches(filters, event) is expected


def test_every_final_state_of_a_job_has_its_event() -> None:
    assert {job_event(state) for state in FINAL} == set(JOB_EVENTS) <= set(FILTERS)


def test_a_filter_is_refused_when_no_event_is_called_so() -> None:
    found = filter_violations("/events", ["job.*", "job.done", "*", "jobs.*", "job.*\n"])
    assert [violation.pointer for violation in found] == ["/events/1", "/events/3", "/events/4"]

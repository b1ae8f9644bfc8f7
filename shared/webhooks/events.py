"""What accounts can be told of, and which endpoint asked for what.

A type is a subject and what happened to it: `job.succeeded`. A filter is a type, a subject
with all that can happen to it (`job.*`), or everything (`*`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from shared.errors import Violation
from shared.jobs.state import FINAL, JobState

JOB_EVENTS = tuple(f"job.{state.value}" for state in JobState if state in FINAL)
BATCH_EVENTS = ("batch.completed", "batch.canceled", "batch.rejected")
ENDPOINT_DISABLED = "endpoint.disabled"
ENDPOINT_TEST = "endpoint.test"  #: sent on demand, whatever the endpoint's filters

TYPES = (*JOB_EVENTS, *BATCH_EVENTS, ENDPOINT_DISABLED)
FILTERS = ("*", *sorted({f"{name.split('.')[0]}.*" for name in TYPES}), *TYPES)


def job_event(state: JobState) -> str:
    """The event of a job that has reached a final state."""
    return f"job.{state.value}"


def matches(filters: Collection[str], event: str) -> bool:
    """Whether somebody with these filters wants to be told of this event."""
    subject = event.split(".", 1)[0]
    return not {"*", f"{subject}.*", event}.isdisjoint(filters)


def filter_violations(pointer: str, filters: Sequence[str]) -> list[Violation]:
    """Those that no event will ever match; a misspelt one must not be silence."""
    detail = f"no event is called so; there are {', '.join(FILTERS)}"
    return [
        Violation(f"{pointer}/{index}", "out_of_range", detail)
        for index, name in enumerate(filters)
        if name not in FILTERS
    ]

"""A job as a value: the row as it was when it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.edits import JobSpec
from shared.jobs.state import JobState

if TYPE_CHECKING:
    from sqlalchemy import Row


@dataclass(frozen=True, slots=True)
class Job:
    """Times are milliseconds since 1970; `result` and `error` are as the worker wrote them.

    `attempt` is the fencing token: what a worker writes for this job carries it.
    """

    id: str
    account_id: str
    status: JobState
    spec: JobSpec
    metadata: Mapping[str, str]
    attempt: int
    losses: int
    retries: int
    step: int
    steps: int | None
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    retried_from: str | None
    cancel_requested_at: int | None
    created_at: int
    started_at: int | None
    claimed_at: int | None
    deadline_at: int | None
    finished_at: int | None
    expires_at: int | None
    retain_until: int | None

    @property
    def object_keys(self) -> list[str]:
        """The objects that this job's result points to."""
        if self.result is None:
            return []
        keys = [candidate["key"] for candidate in self.result["candidates"]]
        return keys + ([self.result["mask_key"]] if self.result["mask_key"] else [])


def job_from_row(row: Row[Any]) -> Job:
    """Read a row of `jobs`."""
    columns = row._mapping
    plain = {name: columns[name] for name in Job.__slots__ if name not in {"status", "spec"}}
    return Job(status=JobState(columns["status"]), spec=JobSpec.from_json(columns["spec"]), **plain)

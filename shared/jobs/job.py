"""A job as a value: the row as it was when it was read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.edits import JobSpec
from shared.jobs.state import JobState
from shared.objects import MASK_NAME, candidate_name, result_key

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
    pictures_gone_at: int | None
    forecast_at: int | None
    pixels: int | None = None  #: charged to its account's month
    batch_id: str | None = None  #: whose item it is
    trace_context: str | None = None  #: what goes on with it is a part of this span
    stored_bytes: int | None = None  #: of its result's objects, if this row pays for them
    origin_id: str | None = None  #: the job whose objects its result names; None: its own
    #: When this process asked for the job, by its own `time.monotonic()`; None if it did not.
    claim_sent: float | None = field(default=None, compare=False)

    @property
    def late_s(self) -> float | None:
        """How long ago its forecast had it end; None unless this process claimed it."""
        if self.forecast_at is None or self.claimed_at is None or self.since_claim_s is None:
            return None
        return (self.claimed_at - self.forecast_at) / 1000 + self.since_claim_s

    @property
    def since_claim_s(self) -> float | None:
        """How long ago this process claimed it; None if it did not."""
        return None if self.claim_sent is None else time.monotonic() - self.claim_sent

    @property
    def object_keys(self) -> list[str]:
        """Every object that an attempt of this job may have stored.

        Not only those of its result: an attempt that died, or lost its lease, between two
        pictures left some behind. Of a job that an earlier result answered: what its result names.
        """
        if self.origin_id is not None:
            return keys_in(self.result)
        options = self.spec.options
        names = [candidate_name(n, options["format"]) for n in range(options["candidates"])]
        return [
            result_key(self.account_id, self.id, attempt, name)
            for attempt in range(1, self.attempt + 1)
            for name in (*names, MASK_NAME)
        ]


def keys_in(result: Mapping[str, Any] | None) -> list[str]:
    """The objects that a result names."""
    if result is None:
        return []
    keys = [candidate["key"] for candidate in result["candidates"]]
    return [*keys, result["mask_key"]] if result["mask_key"] else keys


def new_job(account_id: str, job_id: str, spec: JobSpec, **columns: Any) -> Job:
    """The row that a submission has just made, from what it was made of and other `columns`."""
    nothing = dict.fromkeys(Job.__slots__)
    zeros = dict.fromkeys(("attempt", "losses", "retries", "step"), 0)
    own = {"id": job_id, "account_id": account_id, "spec": spec, "status": JobState.QUEUED}
    return Job(**{**nothing, **zeros, **own, **columns})


_OTHERWISE = {"status", "spec", "claim_sent"}


def job_from_row(row: Row[Any]) -> Job:
    """Read a row of `jobs`."""
    columns = row._mapping
    plain = {name: columns[name] for name in Job.__slots__ if name not in _OTHERWISE}
    return Job(status=JobState(columns["status"]), spec=JobSpec.from_json(columns["spec"]), **plain)

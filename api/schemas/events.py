"""What clients are told of a job as it happens: the `data` of each kind of event."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from api.schemas.jobs import CandidateOut, JobErrorOut, ProgressOut


class StatusEventOut(BaseModel):
    """Of `status`: the job reached a state. `error` if it failed."""

    job: str
    attempt: int
    status: Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
    at: str
    error: JobErrorOut | None


class ProgressEventOut(ProgressOut):
    """Of `progress`: the latest step of an attempt."""

    job: str
    attempt: int


class CandidateEventOut(CandidateOut):
    """Of `candidate`: one of its pictures, with a short-lived URL."""

    job: str
    attempt: int

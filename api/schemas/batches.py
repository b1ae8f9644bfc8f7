"""What clients ask of batches, and what they are told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import PageQuery
from api.schemas.jobs import JobErrorOut, ResultOut
from shared.batches.batch import MAX_JOBS_AT_ONCE
from shared.submission.body import JobWebhookBody
from shared.submission.fields import Body, MetadataKey, MetadataValue

Status = Literal["validating", "running", "completed", "canceled", "rejected"]


class BatchBody(Body):
    """A batch as one JSON body, checked before it is answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "description": "Jobs, each with a `custom_id`, and what they leave to `defaults`.",
            "required": ["jobs"],
        }
    )

    defaults: dict[str, Any] = Field({}, description="What a job does not say itself")
    jobs: list[Any] = Field(
        [],
        max_length=MAX_JOBS_AT_ONCE,
        description="Bodies of jobs, each with a `custom_id` of at most 128 characters",
    )
    webhook: JobWebhookBody | None = Field(None, description="Who is told how the batch ended")
    metadata: dict[MetadataKey, MetadataValue] = Field({}, max_length=16)


class BatchSettings(Body):
    """What the address of a batch of lines says of it, as its body would."""

    webhook: JobWebhookBody | None = None
    metadata: dict[MetadataKey, MetadataValue] = Field({}, max_length=16)


class BatchesQuery(PageQuery):
    """Which batches."""

    status: Status | None = None


class ResultsQuery(BaseModel):
    """Which lines."""

    model_config = ConfigDict(extra="forbid")

    after_line: int = Field(0, ge=0, description="Lines beyond this one alone")
    limit: int | None = Field(None, ge=1, le=50_000, description="So many lines at the most")


class BatchPath(BaseModel):
    """A batch's address."""

    batch_id: str


class BatchCountsOut(BaseModel):
    """How many items are where; all but `total` add up to it."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    invalid: int


class BatchErrorOut(BaseModel):
    """What is wrong with a line; with no line, with the batch as a whole."""

    line: int | None
    custom_id: str | None
    pointer: str
    code: str
    detail: str


class LinesOut(BaseModel):
    """How many lines were looked at."""

    read: int


class BatchOut(BaseModel):
    """A batch. `errors` is empty in lists."""

    id: str
    status: Status
    created_at: str
    accepted_at: str | None
    finished_at: str | None
    counts: BatchCountsOut
    lines: LinesOut
    on_invalid: Literal["reject", "skip"]
    errors: list[BatchErrorOut]
    errors_truncated: bool
    cancel_requested: bool
    retried_from: str | None
    webhook: dict[str, Any] | None
    metadata: dict[str, str]


class BatchesOut(BaseModel):
    """A page of batches, newest first."""

    data: list[BatchOut]
    next_cursor: str | None


class ItemErrorOut(JobErrorOut):
    """Why an item failed; of an invalid one, everything that is wrong with it."""

    errors: list[dict[str, str]] | None = None


class ItemOut(BaseModel):
    """A line of a batch's results."""

    line: int
    custom_id: str | None
    job: str | None
    status: Literal[
        "queued", "running", "succeeded", "failed", "canceled", "expired", "invalid", "deleted"
    ]
    result: ResultOut | None
    error: ItemErrorOut | None

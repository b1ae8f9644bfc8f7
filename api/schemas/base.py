"""What bodies are made of, and one page of a list."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RemovedOut(BaseModel):
    """What was taken out of the object storage; bytes as they were counted for the account.

    deliveries: webhook deliveries of the job, sent or not; 0 for an image.
    """

    objects: int
    bytes: int
    deliveries: int


class DeletedOut(BaseModel):
    """What a `DELETE` took away for good.

    The row is gone. `left_to_sweep`: the object storage did not answer, so the sweep takes
    what is left there.
    """

    id: str
    deleted: Literal[True]
    removed: RemovedOut
    left_to_sweep: bool


class PageQuery(BaseModel):
    """One page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100)

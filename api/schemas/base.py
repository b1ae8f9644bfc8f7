"""What bodies are made of: strict numbers, metadata, and one page of a list."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 42.0 is a whole one (JSON Schema 2020-12, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
#: PostgreSQL cannot look into JSON text that holds a NUL.
NO_NUL = r"^[^\x00]*$"
MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
MetadataValue = Annotated[str, Field(max_length=512, pattern=NO_NUL)]


class Body(BaseModel):
    """A body that a client sends: no field that is not known, no value of another kind."""

    model_config = ConfigDict(extra="forbid", strict=True)


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

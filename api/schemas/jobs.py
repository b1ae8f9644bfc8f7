"""What clients ask of jobs, and what they are told."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from api.schemas.base import PageQuery
from api.schemas.problems import ViolationOut


class JobsQuery(PageQuery):
    """Which jobs; `metadata.KEY=VALUE` picks those with that pair."""

    model_config = ConfigDict(extra="allow")

    status: Literal["queued", "running", "succeeded", "failed", "canceled", "expired"] | None = None
    batch: str | None = Field(None, max_length=40, description="Items of this batch alone")

    @property
    def metadata(self) -> dict[str, str]:
        """The pairs that were asked for."""
        extra = self.model_extra or {}
        return {name.removeprefix("metadata."): value for name, value in extra.items()}

    @model_validator(mode="wrap")
    @classmethod
    def _only_metadata_beside(
        cls, value: dict[str, str], handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        known = {n: v for n, v in value.items() if n in cls.model_fields or n[:9] == "metadata."}
        errors = [_unknown(name) for name in value if name not in known]
        try:
            query = handler(known)
        except ValidationError as error:
            errors += error.errors(include_url=False)  # type: ignore[arg-type]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return query


def _unknown(name: str) -> InitErrorDetails:
    kind = PydanticCustomError("extra_forbidden", "there is no such parameter")
    return InitErrorDetails(type=kind, loc=(name,), input=None)


class JobPath(BaseModel):
    """A job's address."""

    job_id: str


class CandidateOut(BaseModel):
    """One picture that a job produced; no `url` once it is past its retention."""

    index: int
    seed: int
    url: str | None
    sha256: str
    width: int
    height: int


class WarningOut(BaseModel):
    """Something to know about a picture that was made all the same."""

    code: str
    detail: str


class TimingsOut(BaseModel):
    """Where the time went, in milliseconds."""

    queued_ms: float
    fetch_ms: float
    run_ms: float
    store_ms: float
    total_ms: float


class ResultOut(BaseModel):
    """What a job that succeeded made."""

    candidates: list[CandidateOut]
    engine: str
    model_digest: str
    cached: bool
    warnings: list[WarningOut]
    mask_url: str | None
    expires_at: str
    timings: TimingsOut


class ProgressOut(BaseModel):
    """Steps done, of how many; null until the engine knows."""

    step: int
    steps: int | None


class QueueOut(BaseModel):
    """Jobs that will start before this one, and seconds until it should be done."""

    position: int
    eta_s: float | None


class JobErrorOut(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool


class JobOut(BaseModel):
    """A job."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    attempt: int
    progress: ProgressOut
    queue: QueueOut | None
    request: dict[str, Any]
    result: ResultOut | None
    error: JobErrorOut | None
    batch: str | None
    retried_from: str | None
    metadata: dict[str, str]


class JobsOut(BaseModel):
    """A page of jobs, newest first."""

    data: list[JobOut]
    next_cursor: str | None


class CanvasOut(BaseModel):
    """The size at which the engine would work."""

    width: int
    height: int


class EstimateOut(BaseModel):
    """Seconds in the queue, and of the run, were it submitted now."""

    queue_s: float
    run_s: float


class ValidationOut(BaseModel):
    """What a submission of this body would meet."""

    valid: bool
    problems: list[ViolationOut]
    canvas: CanvasOut | None
    estimate: EstimateOut | None

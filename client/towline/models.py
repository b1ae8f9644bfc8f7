"""What the service answers with. Every model keeps the whole answer in `raw`.

A field that this version does not know is no error: it is in `raw`. Times are `datetime`s in
UTC. URLs are good for a short time and open a picture without a key, so no `repr` shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from towline._failures import BatchRejected, JobCanceled, JobExpired, JobFailed, Violation

JobStatus = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
BatchStatus = Literal["validating", "running", "completed", "canceled", "rejected"]
ItemStatus = Literal[
    "queued", "running", "succeeded", "failed", "canceled", "expired", "invalid", "deleted"
]
DeliveryStatus = Literal["pending", "succeeded", "failed"]

FINAL_JOB = frozenset({"succeeded", "failed", "canceled", "expired"})
FINAL_BATCH = frozenset({"completed", "canceled", "rejected"})


@dataclass(frozen=True, kw_only=True)
class Model:
    """Something that the service told; `raw` is the JSON of it, all of it, as it came."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Image(Model):
    """A picture or mask that was uploaded; sizes are after EXIF orientation."""

    id: str
    width: int
    height: int
    content_type: str
    size_bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime
    url: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Removed(Model):
    """What was taken out of the object storage, and webhook deliveries that went with it."""

    objects: int
    bytes: int
    deliveries: int = 0


@dataclass(frozen=True, kw_only=True)
class Deleted(Model):
    """What a deletion took away; `removed` is None when the answer to it was lost."""

    id: str
    deleted: bool = True
    removed: Removed | None = None
    left_to_sweep: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress(Model):
    """Steps done, of how many; None until the engine knows."""

    step: int
    steps: int | None


@dataclass(frozen=True, kw_only=True)
class QueuePlace(Model):
    """Jobs that will start before this one, and seconds until it should be done."""

    position: int
    eta_s: float | None


@dataclass(frozen=True, kw_only=True)
class Candidate(Model):
    """One picture that a job made; no `url` once it is past its retention."""

    index: int
    seed: int
    url: str | None = field(repr=False)
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Notice(Model):
    """Something to know about a picture that was made all the same."""

    code: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Timings(Model):
    """Where the time went, in milliseconds."""

    queued_ms: float
    fetch_ms: float
    run_ms: float
    store_ms: float
    total_ms: float


@dataclass(frozen=True, kw_only=True)
class Result(Model):
    """What a job that succeeded made."""

    candidates: tuple[Candidate, ...]
    engine: str
    model_digest: str
    cached: bool
    warnings: tuple[Notice, ...]
    mask_url: str | None = field(repr=False)
    expires_at: datetime | None
    timings: Timings


@dataclass(frozen=True, kw_only=True)
class JobError(Model):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True, kw_only=True)
class Job(Model):
    """One edit. `request` is what was asked for, defaults filled in; webhooks leave it out."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    attempt: int
    progress: Progress
    queue: QueuePlace | None
    request: Mapping[str, Any] = field(default_factory=dict)
    result: Result | None
    error: JobError | None
    batch: str | None
    retried_from: str | None
    metadata: Mapping[str, str]

    @property
    def is_final(self) -> bool:
        """Whether it has ended; nothing changes after that."""
        return self.status in FINAL_JOB

    def raise_for_status(self) -> Job:
        """Itself; `JobFailed`, `JobCanceled` or `JobExpired` if it ended without a picture."""
        if self.status == "failed":
            code = self.error.code if self.error else "unknown"
            why = self.error.message if self.error else "it does not say why"
            raise JobFailed(f"{self.id} failed: {why} ({code})", job=self, code=code)
        if self.status == "canceled":
            raise JobCanceled(f"{self.id} was canceled.", job=self, code="canceled")
        if self.status == "expired":
            raise JobExpired(f"{self.id} was not started in time.", job=self, code="expired")
        return self


@dataclass(frozen=True, kw_only=True)
class Canvas(Model):
    """The size at which the engine would work."""

    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Estimate(Model):
    """Seconds in the queue, and of the run."""

    queue_s: float
    run_s: float


@dataclass(frozen=True, kw_only=True)
class Validation(Model):
    """What a submission would meet."""

    valid: bool
    problems: tuple[Violation, ...]
    canvas: Canvas | None
    estimate: Estimate | None


@dataclass(frozen=True, kw_only=True)
class StatusEvent(Model):
    """The job reached a state. `id` resumes after it (`last_event_id`)."""

    id: str = ""
    job: str
    attempt: int
    status: JobStatus
    at: datetime
    error: JobError | None

    @property
    def is_final(self) -> bool:
        """Whether it is the last one."""
        return self.status in FINAL_JOB


@dataclass(frozen=True, kw_only=True)
class ProgressEvent(Model):
    """The latest step of an attempt."""

    id: str = ""
    job: str
    attempt: int
    step: int
    steps: int | None


@dataclass(frozen=True, kw_only=True)
class CandidateEvent(Model):
    """One of its pictures is there."""

    id: str = ""
    job: str
    attempt: int
    index: int
    seed: int
    url: str | None = field(repr=False)
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class OtherEvent(Model):
    """An event of a kind that this version does not know; `raw` is its data."""

    id: str = ""
    kind: str


JobEvent = StatusEvent | ProgressEvent | CandidateEvent | OtherEvent


@dataclass(frozen=True, kw_only=True)
class BatchCounts(Model):
    """Its jobs by state; `invalid` are lines that were skipped."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    invalid: int

    @property
    def final(self) -> int:
        """How many have ended."""
        return self.succeeded + self.failed + self.canceled + self.expired + self.invalid


@dataclass(frozen=True, kw_only=True)
class BatchLines(Model):
    """How many lines were read so far."""

    read: int


@dataclass(frozen=True, kw_only=True)
class JobWebhook(Model):
    """Who is told how it ended."""

    url: str
    events: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Batch(Model):
    """Many jobs that were sent as one."""

    id: str
    status: BatchStatus
    created_at: datetime
    accepted_at: datetime | None
    finished_at: datetime | None
    counts: BatchCounts
    lines: BatchLines
    on_invalid: Literal["reject", "skip"] = "reject"
    errors: tuple[Violation, ...] = ()
    errors_truncated: bool = False
    cancel_requested: bool = False
    retried_from: str | None = None
    webhook: JobWebhook | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether every job of it has ended, or none will run."""
        return self.status in FINAL_BATCH

    def raise_for_status(self) -> Batch:
        """Itself; `BatchRejected` if none of it was run. Jobs that failed are no error here."""
        if self.status == "rejected":
            first = self.errors[0] if self.errors else None
            where = f" Line {first.line}: {first.detail} ({first.code})." if first else ""
            count = self.counts.invalid or len(self.errors)
            raise BatchRejected(
                f"{self.id} has {count} lines that are not valid.{where}", batch=self
            )
        return self


@dataclass(frozen=True, kw_only=True)
class ItemError(JobError):
    """Why an item has no result; `errors` if its line was not valid."""

    errors: tuple[Violation, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BatchItem(Model):
    """One line of a batch, and what became of it."""

    line: int
    custom_id: str | None
    job: str | None
    status: ItemStatus
    result: Result | None
    error: ItemError | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL_JOB or self.status in ("invalid", "deleted")


@dataclass(frozen=True, kw_only=True)
class WebhookEndpoint(Model):
    """Where the account's events are sent. `secret` is there when it was made or rotated."""

    id: str
    url: str
    events: tuple[str, ...]
    description: str
    disabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    previous_secret_expires_at: datetime | None
    created_at: datetime
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class WebhookSecret(Model):
    """What signs the messages to URLs that came with jobs."""

    secret: str = field(repr=False)
    previous_secret_expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Attempt(Model):
    """One try: what the receiver said, or why it was not asked."""

    attempt: int
    at: datetime
    duration_ms: int
    http_status: int | None
    answer: str | None
    error: str | None
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class WebhookDelivery(Model):
    """One event for one receiver."""

    id: str
    event: str
    type: str
    job: str | None
    endpoint: str | None
    url: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, kw_only=True)
class Replayed(Model):
    """How many deliveries are sent again; ask once more if there are more."""

    replayed: int
    has_more: bool


@dataclass(frozen=True, kw_only=True)
class EngineOption(Model):
    """One option: its kind, its range or choices, and its default."""

    type: str
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Engine(Model):
    """One engine that is configured; `up` says whether a worker runs it now."""

    name: str
    is_default: bool
    up: bool
    threads: int
    model_digest: str | None
    options: Mapping[str, EngineOption]


@dataclass(frozen=True, kw_only=True)
class KeyInfo(Model):
    """The key that the client has, without its secret."""

    id: str
    name: str | None
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Quotas(Model):
    """What the account may have at the most; None: any number."""

    requests_per_s: int | None
    queued_jobs: int | None
    running_jobs: int | None
    stored_bytes: int | None
    pixels_per_month: int | None


@dataclass(frozen=True, kw_only=True)
class Usage(Model):
    """What it has now."""

    queued_jobs: int
    running_jobs: int
    stored_bytes: int
    pixels_per_month: int
    month_ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class Account(Model):
    """The account of the key."""

    id: str
    name: str
    created_at: datetime
    key: KeyInfo
    quotas: Quotas
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class Actor(Model):
    """Who did it."""

    type: str
    id: str


@dataclass(frozen=True, kw_only=True)
class AuditEntry(Model):
    """One change in the account."""

    id: str
    created_at: datetime
    action: str
    subject: str
    actor: Actor
    request_id: str | None
    details: Mapping[str, Any]

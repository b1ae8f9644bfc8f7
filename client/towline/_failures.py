"""Everything that a call can raise, as one tree (`towline.errors`, with a class for each code).

    TowlineError                      whoever catches it has caught everything
    ├── ConfigurationError            no key, or an address that is none
    ├── TransportError                no whole answer came; what was asked for may be done or not
    │   ├── ConnectionFailed          nobody could be reached, or the connection broke
    │   ├── CallTimedOut              nothing was said for too long, or the call's time is over
    │   └── UnreadableAnswer          an answer that is not of the contract: cut off, or a proxy's
    ├── APIError                      the service said no: code, status, errors, request_id, ...
    │   ├── RequestError              4xx: the caller can mend it
    │   │   ├── InvalidRequest        422; a class below it for each code that `errors` can have
    │   │   ├── Conflict              409: the state of a thing forbids it
    │   │   └── LimitExceeded         429: a limit of the account
    │   └── ServerError               5xx: the same call may succeed later
    ├── JobNotSucceeded               by `Job.raise_for_status`; has the `job`
    │   ├── JobFailed                 its `code` is that of the job's error
    │   ├── JobCanceled
    │   └── JobExpired
    ├── BatchRejected                 by `Batch.raise_for_status`; has the `batch`
    ├── WaitTimedOut                  it was not final in time; has it as it was `last_seen`
    ├── ContentMismatch               bytes came that are not those that were promised
    └── WebhookVerificationError      not a message of this Towline, or an old one

Each code of the service has a class of its own, in `towline.errors`: `ImageInUse` is a
`Conflict`, `PointOutsideMask` an `InvalidRequest`. A code that this version does not know is the
class of its status. Calls were repeated as often as makes sense before any of this is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from towline.models import Batch, Job

UNKNOWN = "unknown"

__all__ = [
    "APIError",
    "BatchRejected",
    "CallTimedOut",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "ContentMismatch",
    "InvalidRequest",
    "JobCanceled",
    "JobExpired",
    "JobFailed",
    "JobNotSucceeded",
    "LimitExceeded",
    "RequestError",
    "ServerError",
    "TowlineError",
    "TransportError",
    "UnreadableAnswer",
    "Violation",
    "WaitTimedOut",
    "WebhookVerificationError",
]


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request; `pointer` is a JSON pointer into its body.

    Of a batch, `line` and `custom_id` say which of its jobs is meant.
    """

    pointer: str
    code: str
    detail: str
    line: int | None = None
    custom_id: str | None = None


class TowlineError(Exception):
    """The root."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(TowlineError):
    """The client cannot be made so."""


class TransportError(TowlineError):
    """No whole answer came; what was asked for may be done or not."""


class ConnectionFailed(TransportError):
    """Nobody could be reached, or the connection broke."""


class CallTimedOut(TransportError, TimeoutError):
    """Nothing was said for too long, or the time of the whole call is over."""


class UnreadableAnswer(TransportError):
    """An answer that is not of the contract: cut off, or somebody else's."""


class APIError(TowlineError):
    """The service said no.

    code: one of the service's, stable; "unknown" if a proxy answered in its place.
    errors: all that is wrong with the request, if that is the reason.
    retry_after: seconds after which another try may succeed, if it said so.
    request_id: by which the operator finds it in the logs.
    """

    own_code: ClassVar[str] = UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int,
        title: str = "",
        request_id: str | None = None,
        errors: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.own_code
        self.status = status
        self.title = title
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after = retry_after

    def __str__(self) -> str:
        known = f", request {self.request_id}" if self.request_id else ""
        return f"{self.message} ({self.status} {self.code}{known})"


class RequestError(APIError):
    """4xx: the caller can mend it."""


class InvalidRequest(RequestError):
    """422: what was sent is not valid; `errors` has every violation."""

    own_code = "invalid_request"


class Conflict(RequestError):
    """409: the state of a thing forbids it now."""


class LimitExceeded(RequestError):
    """429: a limit of the account; `retry_after` says when to come back."""


class ServerError(APIError):
    """5xx: the same call may succeed later."""


class JobNotSucceeded(TowlineError):
    """The job ended without a picture; `code` is its status, or the code of its error."""

    def __init__(self, message: str, *, job: Job, code: str) -> None:
        super().__init__(message)
        self.job = job
        self.code = code


class JobFailed(JobNotSucceeded):
    """The run found out that it cannot be done, or could not go on."""

    @property
    def retryable(self) -> bool:
        """Whether the same job may succeed another time."""
        return self.job.error is not None and self.job.error.retryable


class JobCanceled(JobNotSucceeded):
    """Somebody canceled it."""


class JobExpired(JobNotSucceeded):
    """It was not started in time."""


class BatchRejected(TowlineError):
    """Lines of the batch were not valid, and none of it was run; `batch.errors` has them."""

    def __init__(self, message: str, *, batch: Batch) -> None:
        super().__init__(message)
        self.batch = batch


class WaitTimedOut(TowlineError, TimeoutError):
    """It was not final in time; it goes on all the same. `last_seen` is how it was then."""

    def __init__(self, message: str, *, last_seen: Job | Batch) -> None:
        super().__init__(message)
        self.last_seen = last_seen


class ContentMismatch(TowlineError):
    """Bytes came that have not the sha256 that was promised; they were thrown away."""


class WebhookVerificationError(TowlineError):
    """Not signed with this secret, changed on its way, or too old."""

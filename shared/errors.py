"""Everything Towline refuses or gives up on, as one tree.

    TowlineError                      code, retryable
    ├── RequestError                  the caller can mend it; says where, all at once
    │   ├── InvalidRequest            a body, a query or an option that cannot be understood
    │   ├── PictureError              the bytes are not a picture that Towline takes
    │   │   ├── ImageTooLarge
    │   │   ├── UnsupportedImageType
    │   │   ├── ImageUnreadable
    │   │   └── UploadMismatch
    │   ├── BatchTooLarge
    │   ├── Unauthorized
    │   ├── InsufficientScope         the key may not do this
    │   ├── NotFound
    │   ├── IdempotencyKeyMalformed
    │   ├── IdempotencyKeyReused      for another request
    │   ├── IdempotencyKeyGone        what it made was deleted since
    │   ├── LimitExceeded             the account's own limits; says when to come back
    │   │   ├── RateLimited
    │   │   ├── TooManyQueued
    │   │   ├── StorageFull
    │   │   └── PixelsSpent
    │   └── Conflict                  the state of a thing forbids it
    │       ├── AccountExists
    │       ├── KeyReplaced           by a rotation; its successor can be rotated
    │       ├── ImageInUse
    │       ├── ImageNotUploaded
    │       ├── JobNotFinal
    │       ├── BatchNotFinal
    │       ├── NothingToRetry        no item of the batch failed or expired
    │       ├── IdempotencyKeyInFlight
    │       ├── EndpointDisabled
    │       ├── TooManyEndpoints
    │       └── SecretUnreadable      sealed under another TOWLINE_SECRET_KEY
    ├── EngineError                   found only by the run; the job's `error`
    │   ├── DragNotReachable
    │   ├── WarpFolds                 only with `strict`
    │   ├── EngineFailed              nobody foresaw it
    │   ├── TimedOut
    │   └── WorkerLost                three leases ran out
    ├── Unavailable                   a server that Towline needs does not answer: retryable
    │   ├── StorageUnavailable
    │   ├── DatabaseUnavailable
    │   └── TooManyStreams            this API process has as many as it can serve
    └── IllegalTransition             a move that the job's state does not have: a bug

What stops a run without being an error (a cancel, a drain, a lost lease) is in
`worker/watch.py`. The HTTP status of each code and its
paragraph are in `api/codes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request, and where.

    `pointer` is a JSON pointer (RFC 6901) into the body, "" for the whole of it; of a batch, into
    the job of that line.
    """

    pointer: str
    code: str
    detail: str
    line: int | None = None  #: of a batch, from 1


class TowlineError(Exception):
    """The root: whoever catches it has caught everything that Towline says no with."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(TowlineError):
    """The caller can mend it."""


class InvalidRequest(RequestError):
    """A request with `violations`, every one that was found."""

    code = "invalid_request"

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        if not self.violations:
            raise ValueError("an invalid request has at least one violation")
        super().__init__("; ".join(f"{v.pointer or '/'}: {v.detail}" for v in self.violations))


class PictureError(RequestError):
    """The bytes are not a picture that Towline takes."""


class ImageTooLarge(PictureError):
    """More bytes or more pixels than allowed."""

    code = "image_too_large"


class UnsupportedImageType(PictureError):
    """Not PNG, JPEG or WebP, judged by the bytes."""

    code = "unsupported_image_type"


class ImageUnreadable(PictureError):
    """Truncated, broken, animated, or a bomb."""

    code = "image_unreadable"


class UploadMismatch(PictureError):
    """The bytes that were put are not the bytes that were announced."""

    code = "upload_mismatch"


class BatchTooLarge(RequestError):
    """More lines or bytes than one batch may have."""

    code = "batch_too_large"


class Unauthorized(RequestError):
    """No key, or one that is unknown, revoked or expired."""

    code = "unauthorized"

    def __init__(self, message: str, *, is_about_the_key: bool = True) -> None:
        super().__init__(message)
        self.is_about_the_key = is_about_the_key  #: False: there was none


class InsufficientScope(RequestError):
    """The key is good, but has not the scope that this needs."""

    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs a key with the scope `{scope}`.")
        self.scope = scope


class NotFound(RequestError):
    """No such thing, or somebody else's: the answer is the same."""

    code = "not_found"


class IdempotencyKeyMalformed(RequestError):
    """The `Idempotency-Key` header cannot be read."""

    code = "idempotency_key_malformed"


class IdempotencyKeyReused(RequestError):
    """The key was used for another request."""

    code = "idempotency_key_reused"


class IdempotencyKeyGone(RequestError):
    """What the key made was deleted since; the key makes nothing again."""

    code = "idempotency_key_gone"


class LimitExceeded(RequestError):
    """A limit of the account; `retry_after_s` is when another try may succeed."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(LimitExceeded):
    """More requests in a second than the account may make."""

    code = "rate_limited"


class TooManyQueued(LimitExceeded):
    """As many jobs wait as the account may have waiting."""

    code = "too_many_queued_jobs"


class StorageFull(LimitExceeded):
    """The account's images and results take all the room that it has."""

    code = "storage_quota_exceeded"


class PixelsSpent(LimitExceeded):
    """The month's pixels are spent."""

    code = "pixel_quota_exceeded"


class Conflict(RequestError):
    """The state of the thing forbids it now."""


class AccountExists(Conflict):
    """Another account has this name."""

    code = "account_exists"


class KeyReplaced(Conflict):
    """The key was rotated already; the message names its successor."""

    code = "key_replaced"


class ImageInUse(Conflict):
    """A job that is not final needs the image."""

    code = "image_in_use"


class ImageNotUploaded(Conflict):
    """Announced, but its bytes never came."""

    code = "image_not_uploaded"


class JobNotFinal(Conflict):
    """Only a job that has ended may be deleted or retried."""

    code = "job_not_final"


class BatchNotFinal(Conflict):
    """Only a batch that has ended may be retried."""

    code = "batch_not_final"


class NothingToRetry(Conflict):
    """No item of the batch failed or expired."""

    code = "nothing_to_retry"


class IdempotencyKeyInFlight(Conflict):
    """Another request with the key has not been answered yet."""

    code = "idempotency_key_in_flight"


class EndpointDisabled(Conflict):
    """Nothing is sent to a webhook endpoint that is disabled."""

    code = "endpoint_disabled"


class TooManyEndpoints(Conflict):
    """The account has as many webhook endpoints as it may have."""

    code = "too_many_endpoints"


class SecretUnreadable(Conflict):
    """A webhook's secret was sealed under another `TOWLINE_SECRET_KEY`; a rotation mends it."""

    code = "secret_unreadable"


class EngineError(TowlineError):
    """Found only by the run."""


class DragNotReachable(EngineError):
    """A handle cannot be brought to its target; the message says how far each got."""

    code = "drag_not_reachable"


class WarpFolds(EngineError):
    """The field folds over itself, and the caller asked for `strict`."""

    code = "warp_folds"


class EngineFailed(EngineError):
    """Nobody foresaw it; the trace is in the worker's log under the job's id."""

    code = "engine_failed"

    @classmethod
    def from_unforeseen(cls, error: Exception) -> EngineFailed:
        """Name the kind of error and no more: its text may hold what is not the caller's."""
        return cls(f"The engine failed unexpectedly ({type(error).__name__}).")


class TimedOut(EngineError):
    """`timeout_s` since the first start is over."""

    code = "timeout"


class WorkerLost(EngineError):
    """Three leases ran out: whatever runs this job dies of it."""

    code = "worker_lost"


class Unavailable(TowlineError):
    """A server that Towline needs does not answer; the same call may succeed later."""

    retryable = True


class StorageUnavailable(Unavailable):
    """Object storage did not take or give an object."""

    code = "storage_unavailable"

    def __init__(self, message: str, *, is_gone: bool = False) -> None:
        """is_gone: it answers, and has not what a row points to."""
        super().__init__(message)
        self.is_gone = is_gone


class DatabaseUnavailable(Unavailable):
    """The database did not answer in time."""

    code = "database_unavailable"


class TooManyStreams(Unavailable):
    """As many streams are open as this process can serve."""

    code = "too_many_streams"


class IllegalTransition(TowlineError):
    """A move that the job's state does not have."""

    code = "illegal_transition"

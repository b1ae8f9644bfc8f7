"""The client of Towline, a self-hosted job queue for drag-based image editing.

    with Towline() as towline:
        image = towline.images.upload("photo.jpg")
        job = towline.jobs.create(image, drags=[((168, 87), (167, 72))])
        towline.jobs.download(towline.jobs.wait(job), "edited.png")

`AsyncTowline` is the same for asyncio. Exceptions are in `towline.errors`, a fake service for
tests in `towline.testing`.
"""

from towline import errors
from towline._failures import (
    APIError,
    BatchRejected,
    CallTimedOut,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    ContentMismatch,
    InvalidRequest,
    JobCanceled,
    JobExpired,
    JobFailed,
    JobNotSucceeded,
    LimitExceeded,
    RequestError,
    ServerError,
    TowlineError,
    TransportError,
    UnreadableAnswer,
    Violation,
    WaitTimedOut,
    WebhookVerificationError,
)
from towline._problems import NotFound
from towline.aio import AsyncTowline
from towline.client import Towline
from towline.inputs import Drag, Options, edit
from towline.models import (
    Account,
    Batch,
    BatchItem,
    Candidate,
    CandidateEvent,
    Engine,
    Image,
    Job,
    ProgressEvent,
    StatusEvent,
    Validation,
    WebhookDelivery,
    WebhookEndpoint,
)
from towline.timeouts import Timeouts
from towline.version import __version__
from towline.webhooks import WebhookEvent, verify_webhook

__all__ = [
    "APIError",
    "Account",
    "AsyncTowline",
    "Batch",
    "BatchItem",
    "BatchRejected",
    "CallTimedOut",
    "Candidate",
    "CandidateEvent",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "ContentMismatch",
    "Drag",
    "Engine",
    "Image",
    "InvalidRequest",
    "Job",
    "JobCanceled",
    "JobExpired",
    "JobFailed",
    "JobNotSucceeded",
    "LimitExceeded",
    "NotFound",
    "Options",
    "ProgressEvent",
    "RequestError",
    "ServerError",
    "StatusEvent",
    "Timeouts",
    "Towline",
    "TowlineError",
    "TransportError",
    "UnreadableAnswer",
    "Validation",
    "Violation",
    "WaitTimedOut",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookVerificationError",
    "__version__",
    "edit",
    "errors",
    "verify_webhook",
]

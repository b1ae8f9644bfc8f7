"""The client, for programs that wait. `towline/aio.py` is the same for asyncio, made from this.

Nothing is decided here: each method runs a flow (`towline/_flows/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from towline._core.context import MAX_RETRIES, Context
from towline._core.payloads import Source
from towline._drivers.blocking import Driver
from towline._flows import account, batches, events, images, jobs, transfers, webhooks
from towline.inputs import edit
from towline.models import (
    Account,
    AuditEntry,
    Batch,
    BatchItem,
    BatchStatus,
    Candidate,
    Deleted,
    DeliveryStatus,
    Engine,
    Image,
    Job,
    JobEvent,
    JobStatus,
    Replayed,
    Validation,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookSecret,
)
from towline.timeouts import Timeouts
from towline.version import USER_AGENT

if TYPE_CHECKING:
    import os

    from towline.inputs import DragLike, MaskLike, Options, Priority, WebhookLike


class Resource:
    """A part of the API."""

    def __init__(self, context: Context, driver: Driver) -> None:
        self._context = context
        self._driver = driver


class Images(Resource):
    """Pictures and masks."""

    def upload(self, source: Source, *, timeout: float | None = None) -> Image:
        """The image of a file, bytes or an open file; not a byte is sent of what is there already.

        What is large goes straight into object storage. `ImageTooLarge`, `UnsupportedImageType`,
        `ImageUnreadable`; `OSError` for a file that cannot be read.
        """
        return self._driver.run(images.upload(self._context, source, timeout_s=timeout))

    def get(self, image: Image | str, *, timeout: float | None = None) -> Image:
        """An image, with a fresh URL; `NotFound`."""
        return self._driver.run(images.get(self._context, image, timeout_s=timeout))

    def delete(self, image: Image | str, *, timeout: float | None = None) -> Deleted:
        """Delete an image for good; `ImageInUse` while a job that has not ended needs it."""
        return self._driver.run(images.delete(self._context, image, timeout_s=timeout))


class Jobs(Resource):
    """Edits, one by one."""

    def create(
        self,
        image: Image | str,
        drags: Iterable[DragLike] | None = None,
        *,
        rounds: Iterable[Iterable[DragLike]] | None = None,
        mask: MaskLike = None,
        engine: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        priority: Priority | None = None,
        expires_in_s: int | None = None,
        timeout_s: int | None = None,
        webhook: WebhookLike | None = None,
        metadata: Mapping[str, str] | None = None,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Submit an edit, once, however often its request has to be repeated.

        timeout_s: how long the job may run. wait_s: answer when it has ended, or after so many
        seconds (60 at the most). idempotency_key: one that outlives this program, so that the
        same call in another run of it makes no second job. timeout: of this call.
        `InvalidRequest` with all that is wrong in `errors`.
        """
        return self._driver.run(
            jobs.create(
                self._context,
                edit(
                    image,
                    drags,
                    rounds=rounds,
                    mask=mask,
                    engine=engine,
                    options=options,
                    priority=priority,
                    expires_in_s=expires_in_s,
                    timeout_s=timeout_s,
                    webhook=webhook,
                    metadata=metadata,
                ),
                wait_s=wait_s,
                key=idempotency_key,
                timeout_s=timeout,
            )
        )

    def create_from(
        self,
        body: Mapping[str, Any],
        *,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Submit an edit that is JSON already, such as one made by `towline.edit`."""
        return self._driver.run(
            jobs.create(self._context, body, wait_s=wait_s, key=idempotency_key, timeout_s=timeout)
        )

    def validate(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Validation:
        """All that is wrong with an edit (made by `towline.edit`), and how long it would take."""
        return self._driver.run(jobs.validate(self._context, body, timeout_s=timeout))

    def get(
        self, job: Job | str, *, wait_s: float | None = None, timeout: float | None = None
    ) -> Job:
        """A job as it is, or when it has ended, but after `wait_s` seconds at the latest."""
        return self._driver.run(jobs.get(self._context, job, wait_s=wait_s, timeout_s=timeout))

    def wait(self, job: Job | str, *, timeout: float | None = 600.0) -> Job:
        """The job when it has ended, however; `WaitTimedOut`. None waits without an end.

        A service that is away for a while (5 minutes at the most) is waited for.
        """
        return self._driver.run(jobs.wait(self._context, job, timeout_s=timeout))

    def cancel(self, job: Job | str, *, timeout: float | None = None) -> Job:
        """Cancel a job, however often; a running one stops between two steps."""
        return self._driver.run(jobs.cancel(self._context, job, timeout_s=timeout))

    def retry(
        self,
        job: Job | str,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Job:
        """The same edit as a new job; `JobNotFinal`."""
        return self._driver.run(
            jobs.retry(self._context, job, key=idempotency_key, timeout_s=timeout)
        )

    def delete(self, job: Job | str, *, timeout: float | None = None) -> Deleted:
        """Delete a job that has ended, and its pictures; `JobNotFinal`."""
        return self._driver.run(jobs.delete(self._context, job, timeout_s=timeout))

    def list(
        self,
        *,
        status: JobStatus | None = None,
        batch: Batch | str | None = None,
        metadata: Mapping[str, str] | None = None,
        page_size: int = 100,
    ) -> Iterator[Job]:
        """The account's jobs, newest first, fetched page by page as they are iterated."""
        return self._driver.iterate(
            jobs.list_all(
                self._context, status=status, batch=batch, metadata=metadata, page_size=page_size
            )
        )

    def events(self, job: Job | str, *, last_event_id: str | None = None) -> Iterator[JobEvent]:
        """What happens to a job, as it happens, until it has ended.

        It begins with what happened before, or after `last_event_id`. A connection that breaks
        is made again; nothing is lost and nothing comes twice.
        """
        return self._driver.iterate(events.events(self._context, job, last_event_id=last_event_id))

    def download(
        self,
        job: Job | str,
        to: str | os.PathLike[str],
        *,
        candidate: int = 0,
        timeout: float | None = None,
    ) -> Path:
        """The picture that a job made, as a file; nothing is there until all of it is right.

        A part that came before is not fetched again. `JobFailed`, `JobCanceled`, `JobExpired`;
        `ContentMismatch`.
        """
        return self._driver.run(
            jobs.download(self._context, job, Path(to), candidate=candidate, timeout_s=timeout)
        )

    def picture(self, job: Job | str, *, candidate: int = 0, timeout: float | None = None) -> bytes:
        """The bytes of the picture that a job made; as `download`, without a file."""
        return self._driver.run(
            jobs.picture(self._context, job, candidate=candidate, timeout_s=timeout)
        )


class Batches(Resource):
    """Many edits, sent as one."""

    def create(
        self,
        jobs: Iterable[Mapping[str, Any]] | str | os.PathLike[str],
        *,
        on_invalid: batches.OnInvalid = "reject",
        webhook: WebhookLike | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Batch:
        """Submit many edits: dicts (`towline.edit(..., custom_id=...)`), or a JSONL file.

        They are streamed, in constant memory. `on_invalid="skip"` runs the good ones though others
        are not valid. The batch is `validating` at first: see `wait`. `BatchTooLarge`.
        """
        return self._driver.run(
            batches.create(
                self._context,
                jobs,
                on_invalid=on_invalid,
                webhook=webhook,
                metadata=metadata,
                key=idempotency_key,
                timeout_s=timeout,
            )
        )

    def get(
        self, batch: Batch | str, *, wait_s: float | None = None, timeout: float | None = None
    ) -> Batch:
        """A batch as it is, or when it has ended, but after `wait_s` seconds at the latest."""
        return self._driver.run(batches.get(self._context, batch, wait_s=wait_s, timeout_s=timeout))

    def wait(self, batch: Batch | str, *, timeout: float | None = 86_400.0) -> Batch:
        """The batch when it has ended; `WaitTimedOut`. None waits without an end."""
        return self._driver.run(batches.wait(self._context, batch, timeout_s=timeout))

    def cancel(self, batch: Batch | str, *, timeout: float | None = None) -> Batch:
        """Cancel what of it has not ended, however often."""
        return self._driver.run(batches.cancel(self._context, batch, timeout_s=timeout))

    def retry(
        self,
        batch: Batch | str,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Batch:
        """A new batch of those alone that failed or expired; `BatchNotFinal`, `NothingToRetry`."""
        return self._driver.run(
            batches.retry(self._context, batch, key=idempotency_key, timeout_s=timeout)
        )

    def list(self, *, status: BatchStatus | None = None, page_size: int = 100) -> Iterator[Batch]:
        """The account's batches, newest first, without their errors."""
        return self._driver.iterate(
            batches.list_all(self._context, status=status, page_size=page_size)
        )

    def results(self, batch: Batch | str, *, after_line: int = 0) -> Iterator[BatchItem]:
        """What became of each line, in their order, also while it runs; in constant memory."""
        return self._driver.iterate(batches.results(self._context, batch, after_line=after_line))

    def archive(
        self,
        batch: Batch | str,
        to: str | os.PathLike[str],
        *,
        timeout: float | None = None,
    ) -> Path:
        """All pictures and `results.jsonl` as a ZIP; nothing is there until all of it is."""
        return self._driver.run(batches.archive(self._context, batch, Path(to), timeout_s=timeout))


class WebhookEndpoints(Resource):
    """Where the account's events are sent."""

    def create(
        self,
        url: str,
        *,
        events: Iterable[str] = ("*",),
        description: str = "",
        disabled: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> WebhookEndpoint:
        """Have events sent to a URL. The answer alone has its `secret`: keep it."""
        return self._driver.run(
            webhooks.create(
                self._context,
                {
                    "url": url,
                    "events": [*events],
                    "description": description,
                    "disabled": disabled,
                },
                key=idempotency_key,
                timeout_s=timeout,
            )
        )

    def get(
        self, endpoint: WebhookEndpoint | str, *, timeout: float | None = None
    ) -> WebhookEndpoint:
        """An endpoint, without its secret."""
        return self._driver.run(webhooks.get(self._context, endpoint, timeout_s=timeout))

    def list(self, *, page_size: int = 100) -> Iterator[WebhookEndpoint]:
        """The account's endpoints, newest first."""
        return self._driver.iterate(webhooks.list_all(self._context, page_size=page_size))

    def update(
        self,
        endpoint: WebhookEndpoint | str,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        description: str | None = None,
        disabled: bool | None = None,
        timeout: float | None = None,
    ) -> WebhookEndpoint:
        """Change what is given. `disabled=False` enables it again."""
        changes = {
            "url": url,
            "events": None if events is None else [*events],
            "description": description,
            "disabled": disabled,
        }
        return self._driver.run(
            webhooks.update(self._context, endpoint, changes, timeout_s=timeout)
        )

    def delete(self, endpoint: WebhookEndpoint | str, *, timeout: float | None = None) -> None:
        """Delete an endpoint and the log of its deliveries; what was not sent is not sent."""
        return self._driver.run(webhooks.delete(self._context, endpoint, timeout_s=timeout))

    def rotate_secret(
        self,
        endpoint: WebhookEndpoint | str,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> WebhookEndpoint:
        """A new `secret`. The old one signs as well for a day, so that receivers can follow."""
        return self._driver.run(
            webhooks.rotate_secret(self._context, endpoint, key=idempotency_key, timeout_s=timeout)
        )

    def test(
        self,
        endpoint: WebhookEndpoint | str,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> WebhookDelivery:
        """Send it an `endpoint.test` event; `EndpointDisabled`."""
        return self._driver.run(
            webhooks.test(self._context, endpoint, key=idempotency_key, timeout_s=timeout)
        )

    def replay_failed(
        self,
        endpoint: WebhookEndpoint | str,
        since: datetime,
        *,
        timeout: float | None = None,
    ) -> Replayed:
        """Send again all that has failed since then; once more while `has_more`."""
        return self._driver.run(
            webhooks.replay_failed(self._context, endpoint, since, timeout_s=timeout)
        )


class WebhookDeliveries(Resource):
    """What was sent, and how it was received."""

    def list(
        self,
        *,
        endpoint: WebhookEndpoint | str | None = None,
        job: Job | str | None = None,
        status: DeliveryStatus | None = None,
        page_size: int = 100,
    ) -> Iterator[WebhookDelivery]:
        """Deliveries, newest first, each with its attempts."""
        return self._driver.iterate(
            webhooks.deliveries(
                self._context, endpoint=endpoint, job=job, status=status, page_size=page_size
            )
        )

    def get(
        self, delivery: WebhookDelivery | str, *, timeout: float | None = None
    ) -> WebhookDelivery:
        """One of them."""
        return self._driver.run(webhooks.delivery(self._context, delivery, timeout_s=timeout))

    def replay(
        self, delivery: WebhookDelivery | str, *, timeout: float | None = None
    ) -> WebhookDelivery:
        """Send it again now, under the same `webhook-id`."""
        return self._driver.run(webhooks.replay(self._context, delivery, timeout_s=timeout))


class AccountSecret(Resource):
    """The secret of messages to URLs that came with jobs and batches."""

    def get(self, *, timeout: float | None = None) -> WebhookSecret:
        """As it is."""
        return self._driver.run(webhooks.secret(self._context, timeout_s=timeout))

    def rotate(
        self, *, idempotency_key: str | None = None, timeout: float | None = None
    ) -> WebhookSecret:
        """A new one. The old one signs as well for a day."""
        return self._driver.run(
            webhooks.rotate_account_secret(self._context, key=idempotency_key, timeout_s=timeout)
        )


class Engines(Resource):
    """What can be asked for."""

    def list(self, *, timeout: float | None = None) -> tuple[Engine, ...]:
        """The engines: their options with ranges and defaults, and whether workers are up."""
        return self._driver.run(account.engines(self._context, timeout_s=timeout))


class AccountOfKey(Resource):
    """The account that the key belongs to."""

    def get(self, *, timeout: float | None = None) -> Account:
        """Its quotas, and what it has used of them."""
        return self._driver.run(account.get(self._context, timeout_s=timeout))

    def audit_log(
        self,
        *,
        action: str | None = None,
        subject: str | None = None,
        key: str | None = None,
        page_size: int = 100,
    ) -> Iterator[AuditEntry]:
        """What was changed in it, when and by which key, newest first."""
        return self._driver.iterate(
            account.audit_log(
                self._context, action=action, subject=subject, key=key, page_size=page_size
            )
        )


class Towline:
    """A client of one Towline, with one key. Close it, or use it in a `with`.

    base_url: else `TOWLINE_URL`, else http://127.0.0.1:8000. api_key: else `TOWLINE_API_KEY`.
    timeout: seconds for a whole call, or `Timeouts`. max_retries: how often a request is sent
    again. transport: httpx's, for tests (`towline.testing.FakeTowline`) and proxies.
    Threads may share it. `ConfigurationError`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | Timeouts | None = None,
        max_retries: int = MAX_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._context = Context.of(base_url, api_key, timeout, max_retries, USER_AGENT)
        self._driver = Driver(transport)
        parts = (self._context, self._driver)
        self.images = Images(*parts)
        self.jobs = Jobs(*parts)
        self.batches = Batches(*parts)
        self.webhook_endpoints = WebhookEndpoints(*parts)
        self.webhook_deliveries = WebhookDeliveries(*parts)
        self.webhook_secret = AccountSecret(*parts)
        self.engines = Engines(*parts)
        self.account = AccountOfKey(*parts)

    def __repr__(self) -> str:
        return f"Towline({self._context.base_url!r})"

    def __enter__(self) -> Towline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._driver.close()

    def download(
        self,
        source: Candidate | str,
        to: str | os.PathLike[str],
        *,
        sha256: str | None = None,
        timeout: float | None = None,
    ) -> Path:
        """What a signed URL of the service opens, as a file; nothing is there until all of it is.

        A candidate brings its URL and sha256 with it. A part that came before is not fetched
        again. `UrlRefused` when the URL's time is over: ask for the job or the item again.
        """
        return self._driver.run(
            transfers.download(self._context, source, Path(to), sha256=sha256, timeout_s=timeout)
        )

"""One message: rendered and signed at the moment of sending, posted, and what became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from shared.jobs.shown import Links
from shared.signed_urls import UrlSigner
from shared.telemetry.tracing import span, traceparent
from shared.webhooks.dispatch import Claim, Outcome
from shared.webhooks.message import body_of, job_data
from shared.webhooks.schedule import GONE, SUCCESS, next_delay_s, retry_after_s
from shared.webhooks.signing import signed_headers
from worker.post import Answer, Poster

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from shared.services import Services
    from shared.telemetry.tracing import Span

log = structlog.get_logger()

REDIRECTS = range(300, 400)
_POST: dict[str, Any] = {"http.request.method": "POST"}


class Sender:
    """Makes messages of claims. `ValueError` without a secret key."""

    def __init__(self, services: Services, poster: Poster | None = None) -> None:
        settings = services.settings
        signer = UrlSigner(settings.secret_key.get_secret_value(), settings.base_url)
        self._links = Links(services.objects.urls or signer, settings.url_ttl_s)
        self._scale = settings.webhook_time_scale
        self._names_trace = settings.webhook_traceparent
        self._poster = poster or Poster(
            services.webhooks.rules,
            timeout_s=settings.webhook_timeout_s,
            ca_file=settings.webhook_ca_file,
        )

    async def send(self, claim: Claim) -> Outcome:
        """Try once. Whatever happens is an outcome, and the delivery goes on from there."""
        job_id = None if claim.job is None else claim.job.id
        with (
            structlog.contextvars.bound_contextvars(delivery=claim.id, job=job_id),
            traced(claim) as trying,
        ):
            outcome = await self._try(claim)
            trying.note(**{"http.response.status_code": outcome.http_status})
            if outcome.error is not None:
                trying.fail(outcome.error)
            return outcome

    async def _try(self, claim: Claim) -> Outcome:
        try:
            outcome = self._settle(claim, await self._post(claim))
        except Exception:  # one message or answer that nobody foresaw must not stop the rest
            log.exception("webhook_not_sent")
            failed = Answer(error="send_failed", detail="the server's log has the trace")
            outcome = self._settle(claim, failed)
        log.info(
            "webhook_tried",
            type=claim.event_type,
            status=outcome.http_status,
            error=outcome.error,
            duration_ms=outcome.duration_ms,
        )
        return outcome

    def _settle(self, claim: Claim, answer: Answer) -> Outcome:
        return settle(claim, answer, datetime.now(UTC), scale=self._scale)

    async def _post(self, claim: Claim) -> Answer:
        if not claim.secrets:
            detail = "the secret was sealed under another TOWLINE_SECRET_KEY: rotate it"
            return Answer(error="secret_unreadable", detail=detail)
        data = claim.data if claim.job is None else job_data(claim.job, self._links)
        body = body_of(claim.event_type, claim.event_at, data or {})
        headers = signed_headers(claim.event_id, datetime.now(UTC), body, claim.secrets)
        if self._names_trace and (named := traceparent()):
            headers["traceparent"] = named
        return await self._poster.post(claim.url, headers, body)


def traced(claim: Claim) -> AbstractContextManager[Span]:
    """One try, in the trace of the job that it tells of. Not its URL, which may hold a secret."""
    job = claim.job
    return span(
        "webhook try",
        kind="client",
        parent=None if job is None else job.trace_context,
        job_id=None if job is None else job.id,
        account_id=claim.account_id,
        delivery_id=claim.id,
        endpoint_id=claim.endpoint_id,
        event_type=claim.event_type,
        attempt=claim.attempt,
        **_POST,
    )


def settle(claim: Claim, answer: Answer, now: datetime, *, scale: float = 1.0) -> Outcome:
    """What an answer means: 2xx is success, and everything else is tried again for a while."""
    is_success = answer.http_status in SUCCESS
    is_gone = answer.http_status == GONE
    delay_s = None
    if not is_success and not is_gone:
        asked_s = retry_after_s(answer.retry_after, now)
        delay_s = next_delay_s(claim.tries + 1, scale=scale, retry_after_s=asked_s)
    return Outcome(
        claim=claim,
        is_success=is_success,
        is_gone=is_gone,
        retry_in_ms=None if delay_s is None else int(delay_s * 1000),
        duration_ms=answer.duration_ms,
        http_status=answer.http_status,
        answer=None if answer.http_status is None else answer.body.decode("utf-8", "replace"),
        error=answer.error or (None if is_success else _said_no(answer.http_status)),
        detail=answer.detail,
    )


def _said_no(status: int | None) -> str:
    if status in REDIRECTS:
        return "redirect"  # never followed: the URL that was registered is the one that is called
    return "gone" if status == GONE else "status"

"""Messages are checked as the service signs them, and as others who implement the standard do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from shared.webhooks.signing import new_secret, signed_headers
from towline import WebhookVerificationError, verify_webhook
from towline.webhooks import sign

SECRET, OTHER = new_secret(), new_secret()
JOB = {
    "id": "job_1", "status": "failed", "created_at": "2026-11-24T16:00:00Z", "started_at": None,
    "finished_at": "2026-11-24T16:00:09Z", "expires_at": None, "attempt": 1,
    "progress": {"step": 0, "steps": None}, "queue": None, "result": None,
    "error": {"code": "timeout", "message": "slow", "retryable": False}, "batch": None,
    "retried_from": None, "metadata": {"order": "1"},
}  # fmt: skip
BODY = json.dumps(
    {"type": "job.failed", "timestamp": "2026-11-24T16:00:10Z", "data": JOB}, ensure_ascii=False
).encode()


def signed(*secrets: str, body: bytes = BODY, age_s: float = 0) -> dict[str, str]:
    return signed_headers("evt_1", datetime.now(UTC) - timedelta(seconds=age_s), body, secrets)


def test_a_message_of_the_service_is_read_when_it_is_right() -> None:
    event = verify_webhook(BODY, signed(SECRET), SECRET)
    assert (event.id, event.type, event.batch) == ("evt_1", "job.failed", None)
    assert event.job is not None
    assert (event.job.id, event.job.error.code) == ("job_1", "timeout")  # type: ignore[union-attr]
    assert event.timestamp == datetime(2026, 11, 24, 16, 0, 10, tzinfo=UTC)
    assert verify_webhook(BODY.decode(), signed(SECRET), SECRET) == event


@pytest.mark.parametrize(
    ("signers", "known"),
    [([SECRET], [OTHER, SECRET]), ([SECRET, OTHER], [OTHER]), ([OTHER, SECRET], [SECRET]),
     ([SECRET, OTHER], [OTHER, SECRET]), ([SECRET], (SECRET,))],
)  # fmt: skip
def test_one_signature_that_is_right_is_enough(signers: list[str], known: Any) -> None:
    assert verify_webhook(BODY, signed(*signers), known).type == "job.failed"


def _without(name: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: {key: value for key, value in headers.items() if key != name}


def _with(name: str, value: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: {**headers, name: value}


@pytest.mark.parametrize(
    "change",
    [_without("webhook-id"), _without("webhook-timestamp"), _without("webhook-signature"),
     _with("webhook-id", "evt_2"), _with("webhook-timestamp", "1"),
     _with("webhook-timestamp", "soon"), _with("webhook-timestamp", ""),
     _with("webhook-timestamp", "9" * 40), _with("webhook-timestamp", "-1"),
     _with("webhook-signature", ""), _with("webhook-signature", "v1,"),
     _with("webhook-signature", "v1,nonsense!"), _with("webhook-signature", "v1"),
     _with("webhook-signature", "v1,AAAA"), _with("webhook-signature", ", , ,")],
)  # fmt: skip
def test_a_message_is_refused_when_its_headers_are_not_right(
    change: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    with pytest.raises(WebhookVerificationError):
        verify_webhook(BODY, change(signed(SECRET)), SECRET)


def test_a_signature_of_another_version_counts_for_nothing() -> None:
    headers = signed(SECRET)
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v1a,")
    with pytest.raises(WebhookVerificationError):
        verify_webhook(BODY, headers, SECRET)


def test_a_message_is_refused_when_it_was_changed_or_is_anothers() -> None:
    for body, secret in (
        (BODY + b" ", SECRET),
        (BODY.replace(b"1", b"2", 1), SECRET),
        (BODY, OTHER),
    ):
        with pytest.raises(WebhookVerificationError) as caught:
            verify_webhook(body, signed(SECRET), secret)
        assert SECRET.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize("age_s", [310, -310, 86_400])
def test_a_message_is_refused_when_it_is_not_of_now(age_s: float) -> None:
    with pytest.raises(WebhookVerificationError, match="old"):
        verify_webhook(BODY, signed(SECRET, age_s=age_s), SECRET)
    assert verify_webhook(BODY, signed(SECRET, age_s=age_s), SECRET, tolerance_s=10**6)


@pytest.mark.parametrize("age_s", [290, -290])
def test_five_minutes_are_borne(age_s: float) -> None:
    assert verify_webhook(BODY, signed(SECRET, age_s=age_s), SECRET)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"type": 5}', b"\xff", b"null"])
def test_a_signed_message_is_refused_when_it_is_none_of_ours(body: bytes) -> None:
    headers = sign(SECRET, "evt_1", datetime.now(UTC), body)
    with pytest.raises(WebhookVerificationError):
        verify_webhook(body, headers, SECRET)


def test_headers_are_found_in_whatever_case() -> None:
    headers = {name.title(): value for name, value in signed(SECRET).items()}
    assert verify_webhook(BODY, headers, SECRET).id == "evt_1"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64", [], ["", SECRET]])
def test_a_secret_that_is_none_is_a_mistake_of_the_program(secret: Any) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(BODY, signed(SECRET), secret)


def test_what_we_sign_is_right_for_others() -> None:
    headers = sign(SECRET, "evt_1", datetime.now(UTC), BODY)
    assert Webhook(SECRET).verify(BODY, headers)["type"] == "job.failed"

"""Messages of Towline to your server, checked: Standard Webhooks 1.0.0.

What is signed is `<webhook-id>.<webhook-timestamp>.<body>`, by HMAC-SHA-256; while a secret is
being rotated a message has two signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from towline._core.decoding import decode
from towline._failures import TowlineError, WebhookVerificationError
from towline.models import Batch, Job, Model

PREFIX = "whsec_"
TOLERANCE_S = 300  #: what is older, or from the future, is refused: nobody can send it again
VERSION = "v1"


@dataclass(frozen=True, kw_only=True)
class WebhookEvent(Model):
    """A message. `id` is the same each time that it is sent: remember it, and do it once."""

    id: str = ""
    type: str
    timestamp: datetime
    data: Mapping[str, Any]

    @property
    def job(self) -> Job | None:
        """The job that it tells of, without its request."""
        return decode(Job, self.data) if self.type.startswith("job.") else None

    @property
    def batch(self) -> Batch | None:
        """The batch that it tells of, without its errors."""
        return decode(Batch, self.data) if self.type.startswith("batch.") else None


def verify_webhook(
    payload: bytes | str,
    headers: Mapping[str, str],
    secret: str | Iterable[str],
    *,
    tolerance_s: float = TOLERANCE_S,
) -> WebhookEvent:
    """The message; `WebhookVerificationError` if it is not one of this secret, or is too old.

    payload: the body as it came, before anything has read or written it anew.
    headers: of the request, in whatever case. secret: `whsec_...`, or several.
    """
    body = payload.encode() if isinstance(payload, str) else bytes(payload)
    event_id, timestamp, signatures = _headers(headers)
    signed = f"{event_id}.{timestamp}.".encode() + body
    secrets = [secret] if isinstance(secret, str) else list(secret)
    wanted = [hmac.digest(_key_of(each), signed, hashlib.sha256) for each in secrets]
    if not wanted:
        raise ValueError("verify_webhook needs a secret")
    if not _any_is_right(signatures, wanted):
        raise WebhookVerificationError("The message has no signature of this secret.")
    if abs(time.time() - int(timestamp)) > tolerance_s:
        raise WebhookVerificationError("The message is too old, or the clocks differ.")
    try:
        data = json.loads(body)
        event = decode(WebhookEvent, {**data, "id": event_id})
    except (ValueError, TypeError, TowlineError):
        raise WebhookVerificationError("The message is signed, but is none of Towline's.") from None
    return event


def sign(secret: str, event_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a message, as the service would send it: for tests of your receiver."""
    timestamp = str(int(at.timestamp()))
    signed = f"{event_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(_key_of(secret), signed, hashlib.sha256)).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"{VERSION},{signature}",
    }


def _headers(headers: Mapping[str, str]) -> tuple[str, str, list[bytes]]:
    found = {str(name).lower(): value for name, value in headers.items()}
    try:
        event_id, timestamp = found["webhook-id"], found["webhook-timestamp"].strip()
        given = found["webhook-signature"].split()
    except KeyError as missing:
        raise WebhookVerificationError(f"The message has no header {missing}.") from None
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise WebhookVerificationError("The message's timestamp is none.")
    return event_id, timestamp, [each for each in map(_signature, given) if each]


def _signature(text: str) -> bytes:
    """Its bytes; none, if it is of a version that we do not know."""
    version, _, encoded = text.partition(",")
    if version != VERSION:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _any_is_right(given: list[bytes], wanted: list[bytes]) -> bool:
    """All of them are compared, each in constant time."""
    matches = [hmac.compare_digest(one, other) for one in given for other in wanted]
    return any(matches)


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("a webhook secret is `whsec_` and base64")
    return key

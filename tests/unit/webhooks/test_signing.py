"""Signatures are those of the `standardwebhooks` package and of the specification, both ways."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from shared.webhooks.signing import new_secret, signed_headers

VECTOR = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "at": datetime.fromtimestamp(1614265330, UTC),
    "body": b'{"test": 2432232314}',
    "signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def headers_of(
    secrets: list[str], at: datetime | None = None, body: bytes = b"{}"
) -> dict[str, str]:
    return signed_headers("evt_1", at or datetime.now(UTC), body, secrets)


def test_the_signature_is_that_of_the_published_vector() -> None:
    headers = signed_headers(VECTOR["id"], VECTOR["at"], VECTOR["body"], [VECTOR["secret"]])
    assert headers == {
        "webhook-id": VECTOR["id"],
        "webhook-timestamp": "1614265330",
        "webhook-signature": VECTOR["signature"],
    }


@given(st.binary(min_size=24, max_size=64), st.text(), st.integers(0, 2**33))
def test_the_signature_is_the_hmac_of_the_specification(key: bytes, text: str, at: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    body = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
    headers = signed_headers("evt_1", datetime.fromtimestamp(at, UTC), body, [secret])
    digest = hmac.new(key, b"evt_1." + str(at).encode() + b"." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_a_message_is_accepted_by_the_package_when_it_is_as_it_was_sent() -> None:
    secret, body = new_secret(), json.dumps({"type": "job.succeeded", "äöü": "😀"}).encode()
    assert Webhook(secret).verify(body, headers_of([secret], body=body)) == json.loads(body)


def test_a_message_is_accepted_with_both_secrets_when_one_is_being_rotated() -> None:
    new, old = new_secret(), new_secret()
    headers = headers_of([new, old])
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (new, old):
        Webhook(secret).verify(b"{}", headers)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_message_is_refused_when_it_is_old_or_from_the_future(minutes: int) -> None:
    secret = new_secret()
    headers = headers_of([secret], at=datetime.now(UTC) + timedelta(minutes=minutes))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(b"{}", headers)


def test_a_message_is_refused_when_anything_of_it_is_changed() -> None:
    secret = new_secret()
    headers = headers_of([secret])
    later = str(int(headers["webhook-timestamp"]) + 1)
    changes: list[tuple[bytes, dict[str, str]]] = [
        (b"{ }", {}),
        (b"{}", {"webhook-id": "evt_2"}),
        (b"{}", {"webhook-signature": "v1,AAAA"}),
        (b"{}", {"webhook-timestamp": later}),
    ]
    for body, change in changes:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers | change)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(b"{}", headers)


def test_the_moment_is_the_same_when_it_is_told_in_another_zone() -> None:
    secret, at = new_secret(), datetime(2026, 11, 24, 12, tzinfo=UTC)
    east = at.astimezone(timezone(timedelta(hours=9)))
    assert headers_of([secret], at=at) == headers_of([secret], at=east)


def test_a_secret_has_as_many_bytes_as_the_specification_wants() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    assert new_secret() != secret

"""Secrets that must be read again, encrypted at rest.

AES-256-GCM under a key made from `TOWLINE_SECRET_KEY` (HKDF-SHA-256, RFC 5869). Each is bound
to the row that it belongs to: copied to another row it cannot be opened.

    sealed = version (1 byte) | nonce (12) | ciphertext and tag
"""

from __future__ import annotations

import secrets
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import SecretUnreadable

_VERSION = b"\x01"
_NONCE_BYTES = 12
_PURPOSE = b"towline webhook secrets"


class Sealer:
    """Seals and opens; without a secret key it can do neither, and says so when asked to."""

    def __init__(self, secret_key: str) -> None:
        self._secret_key = secret_key

    def seal(self, text: str, owner: str) -> bytes:
        """`text`, so that only `open` with the same owner and secret key reads it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, text.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str:
        """What was sealed; `SecretUnreadable` if the secret key is another one by now."""
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
                raise InvalidTag
            return self._cipher.decrypt(nonce, rest, owner.encode()).decode()
        except InvalidTag:
            raise SecretUnreadable(
                f"The secret of {owner} was sealed under another TOWLINE_SECRET_KEY; rotate it."
            ) from None

    @cached_property
    def _cipher(self) -> AESGCM:
        if not self._secret_key:
            raise ValueError("TOWLINE_SECRET_KEY is not set: secrets of webhooks cannot be kept")
        key = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE)
        return AESGCM(key.derive(self._secret_key.encode()))

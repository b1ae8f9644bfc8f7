"""API keys: `tow_<id>_<secret>`. The secret is random and long, so a plain SHA-256 keeps it.

What a key may do is the set of its scopes; none implies another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

_FORM = re.compile(r"tow_([0-9a-f]{16})_([0-9A-Za-z]{43})")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Scope(StrEnum):
    """What a key may be allowed to do."""

    READ = "read"  #: look at jobs, images, engines, the account
    WRITE = "write"  #: upload, submit, cancel, delete
    ADMIN = "admin"  #: read the audit log; webhook endpoints and secrets


ALL_SCOPES = tuple(Scope)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its owner holds it; its secret is in no repr."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What goes after `Bearer`."""
        return f"tow_{self.id}_{self.secret}"

    @property
    def secret_hash(self) -> bytes:
        """What is stored."""
        return hashlib.sha256(self.secret.encode()).digest()

    def matches(self, secret_hash: bytes) -> bool:
        """Whether this is the key that was stored, in constant time."""
        return hmac.compare_digest(self.secret_hash, secret_hash)


@dataclass(frozen=True, slots=True)
class NewKey(Key):
    """A key that was made just now, and what its owner should know of it.

    expires_at: when it ends, in milliseconds since 1970; None: never.
    replaces, replaced_until: the id of the key that was rotated to make it, and that one's end.
    """

    expires_at: int | None
    replaces: str | None = None
    replaced_until: int | None = None


def new_key() -> Key:
    """A fresh key: 64 bits of name, 256 bits of secret."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    return Key(id=secrets.token_hex(8), secret=secret)


def parse_key(text: str) -> Key | None:
    """The key that `text` spells, or None if it does not look like one."""
    match = _FORM.fullmatch(text)
    return Key(*match.groups()) if match else None

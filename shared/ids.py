"""Names of things: a kind, an underscore, a UUIDv7 in hex. Newer names sort later."""

from __future__ import annotations

import re

from uuid_utils import uuid7

_FORM = re.compile(r"[a-z]+_[0-9a-f]{32}")


def new_id(kind: str) -> str:
    """A fresh name such as `job_0199c2...` (RFC 9562, section 5.7)."""
    return f"{kind}_{uuid7().hex}"


def is_id(kind: str, text: str) -> bool:
    """Whether `text` has the form of a name of this kind."""
    return text.startswith(f"{kind}_") and _FORM.fullmatch(text) is not None

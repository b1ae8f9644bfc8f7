"""Names of things: a kind, an underscore, a UUIDv7 in hex. Newer names sort later."""

from __future__ import annotations

import re

from uuid_utils import uuid7


def new_id(kind: str) -> str:
    """A fresh name such as `job_0199c2...` (RFC 9562, section 5.7)."""
    return f"{kind}_{uuid7().hex}"


def id_form(kind: str) -> str:
    """The regular expression of the names of a kind."""
    return f"{kind}_[0-9a-f]{{32}}"


def is_id(kind: str, text: str) -> bool:
    """Whether `text` has the form of a name of this kind."""
    return re.fullmatch(id_form(kind), text) is not None

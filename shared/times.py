"""Times as clients see them; inside they are milliseconds of the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(milliseconds: int) -> str:
    """`2026-11-23T04:05:06.789Z`."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(milliseconds: int | None) -> str | None:
    """The same of a time that may not have come."""
    return None if milliseconds is None else rfc3339(milliseconds)

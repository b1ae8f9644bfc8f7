"""What everything in the fake needs: ids, times, bytes, and how a thing is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from towline.testing.refusals import Refusal

T = TypeVar("T")
Json = dict[str, Any]


@dataclass
class Store:
    """Ids, and the object storage."""

    base_url: str
    objects: dict[str, bytes] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def new_id(self, kind: str) -> str:
        """Later ones are larger."""
        return f"{kind}_{next(self._numbers):032x}"

    def link(self, key: str) -> str:
        """A signed URL of an object."""
        return f"{self.base_url}/objects/{key}?expires=9999999999&signature=fake"


def now(**later: float) -> str:
    """RFC 3339, in UTC."""
    at = datetime.now(UTC) + timedelta(**later)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def found(things: Mapping[str, T], name: str, thing_id: str) -> T:
    """One of them; not_found."""
    if thing_id not in things:
        raise missing(name, thing_id)
    return things[thing_id]


def missing(name: str, thing_id: str) -> Refusal:
    return Refusal("not_found", f"There is no {name} {thing_id}.")


def deleted(thing_id: str, objects: int, size_bytes: int, deliveries: int) -> Json:
    removed = {"objects": objects, "bytes": size_bytes, "deliveries": deliveries}
    return {"id": thing_id, "deleted": True, "removed": removed, "left_to_sweep": False}

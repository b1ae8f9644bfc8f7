"""What object storage promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

PIECE_BYTES = 8 * 2**20  #: of an object that is stored as a stream


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in a listing; its age is by the storage's own clock."""

    key: str
    age_s: float
    is_half_written: bool = False  #: by a `put` that was killed, or still goes on


@dataclass(frozen=True, slots=True)
class Upload:
    """Where bytes may be put, and the headers that must come with them."""

    url: str
    headers: Mapping[str, str]


class ClientUrls(Protocol):
    """Makes URLs that open one object for one method until a time, without a key."""

    def download(self, key: str, ttl_s: int, content_type: str) -> str:
        """To read the object, as a picture of this type."""

    def upload(self, key: str, ttl_s: int, size_bytes: int, content_type: str) -> Upload:
        """To PUT just so many bytes, of this type."""


class ObjectStore(Protocol):
    """Bytes under names. Every method: `StorageUnavailable` when the storage does not answer.

    `put` is atomic: an object is there whole or not at all.
    """

    @property
    def urls(self) -> ClientUrls | None:
        """Where clients reach the storage itself; None where they go through the API."""

    def put(self, key: str, data: bytes) -> None:
        """Store `data`, whole or not at all, in place of what was there."""

    def put_stream(self, key: str, pieces: Iterable[bytes]) -> None:
        """Store the pieces as one object, of which no more is in memory than `PIECE_BYTES`.

        What the iterable raises is passed on, and nothing is stored then.
        """

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """At most `size` bytes from `start` on, fewer at the object's end; `NotFound`."""

    def get(self, key: str) -> bytes:
        """The bytes; `NotFound`."""

    def size(self, key: str) -> int:
        """How many bytes; `NotFound`."""

    def delete(self, key: str) -> None:
        """Remove it; nothing happens when it is not there."""

    def walk(self, prefix: str, after: str, limit: int) -> list[Stored]:
        """At most so many objects under `prefix`, in the order of their keys, from `after` on.

        Among them what is half-written: it can be deleted, and nothing else.
        """

    def check(self) -> None:
        """Whether the storage answers and may be used; cheap enough for every probe."""

"""Bytes that are sent: from memory, from a file, or from whatever can be read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from towline._core.effects import Payload

CHUNK_BYTES = 256 * 1024
IN_MEMORY_BYTES = 4 * 2**20  #: what has no file and is larger goes to a temporary one

Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes]"


@dataclass(frozen=True, slots=True, repr=False)
class Bytes:
    """From memory."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), CHUNK_BYTES):
            yield self.data[start : start + CHUNK_BYTES]


@dataclass(frozen=True, slots=True)
class File:
    """The file at a path, as long as it was when it was looked at."""

    path: Path
    size_bytes: int

    @classmethod
    def at(cls, path: Path) -> File:
        return cls(path, path.stat().st_size)

    def chunks(self) -> Iterator[bytes]:
        left = self.size_bytes
        with self.path.open("rb") as file:
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk


class Spooled:
    """Parts that can be had once, kept in a temporary file for as long as they are needed."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, prefix="towline-")  # noqa: SIM115
        try:
            for part in parts:
                self._file.write(part)
        except BaseException:
            self._file.close()
            raise
        self.size_bytes = self._file.tell()

    def chunks(self) -> Iterator[bytes]:
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Nothing is left of it."""
        self._file.close()


def payload_of(source: Source) -> Payload:
    """What can be sent more than once; `OSError` for a path at which there is no file."""
    if isinstance(source, bytes | bytearray | memoryview):
        return Bytes(bytes(source))
    if isinstance(source, str | os.PathLike):
        return File.at(Path(source))
    return Spooled(iter(lambda: source.read(CHUNK_BYTES), b""))


def let_go(payload: Payload) -> None:
    """It is needed no more."""
    if isinstance(payload, Spooled):
        with suppress(OSError):
            payload.close()


def sha256_of(payload: Payload) -> str:
    """Of all of its bytes, in hex."""
    digest = hashlib.sha256()
    for chunk in payload.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def as_json(value: Any) -> bytes:
    """UTF-8, without spaces; `ValueError` for NaN and what JSON has not."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

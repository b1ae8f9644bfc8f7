"""Objects as files in a folder; for one machine."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import NotFound, StorageUnavailable
from shared.objects.keys import checked
from shared.objects.store import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PUT_TRIES = 100

#: What `put` writes to before it moves it to its place; left behind only by a killed process.
_HALF_WRITTEN = ".put-"
_HALF_WRITTEN_KEY = re.compile(r"[a-z]+(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*/\.put-[a-z0-9_]+")


class FolderStore:
    """Keeps the promises of `ObjectStore` with `rename` and `fsync`."""

    urls = None  #: clients go through the API

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        """Write beside the place, make it durable, then move it there."""
        self.put_stream(key, [data])

    def put_stream(self, key: str, pieces: Iterable[bytes]) -> None:
        """The same, piece by piece."""
        with self._errors(f"{key} could not be stored"):
            path = self._path(key)
            descriptor, temporary = _open_beside(path)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                with _opened(path.parent) as folder:
                    Path(temporary).replace(path)
                    os.fsync(folder)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    def get(self, key: str) -> bytes:
        """Read the file."""
        with self._errors(f"{key} could not be read"):
            return self._path(key).read_bytes()

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """Read a part of the file."""
        with self._errors(f"{key} could not be read"), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(size)

    def size(self, key: str) -> int:
        """Ask the file system."""
        with self._errors(f"{key} could not be read"):
            return self._path(key).stat().st_size

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        with self._errors(f"{key} could not be deleted"):
            whole = not _HALF_WRITTEN_KEY.fullmatch(key)
            path = self._path(key) if whole else self._folder / key
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self._folder or not _is_removed(parent):
                    break

    def walk(self, prefix: str, after: str, limit: int) -> list[Stored]:
        """Walk the folders in the order of the keys."""
        found: list[Stored] = []
        with self._errors("the objects' folder could not be listed"):
            now = time.time()
            for key in _walk(self._folder, "", prefix, after):
                with contextlib.suppress(FileNotFoundError):  # deleted just now
                    age_s = now - (self._folder / key).stat().st_mtime
                    found.append(Stored(key, age_s, bool(_HALF_WRITTEN_KEY.fullmatch(key))))
                if len(found) == limit:
                    break
        return found

    def check(self) -> None:
        """Write a file and remove it again."""
        with self._errors("the objects' folder cannot be written"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = _open_beside(self._folder / "staging" / "check")
            os.close(descriptor)
            Path(temporary).unlink()

    @contextlib.contextmanager
    def _errors(self, message: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            absent = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
            if absent and (self._folder.is_dir() or not self._folder.exists()):
                raise NotFound(f"{message}: it is not there.") from None
            raise StorageUnavailable(f"{message}: {error.strerror}.") from error

    def _path(self, key: str) -> Path:
        return self._folder / checked(key)


def _walk(root: Path, base: str, prefix: str, after: str) -> Iterator[str]:
    """The keys that begin with `base` in their order; no folder is entered in vain."""
    try:
        keys = [f"{base}{e.name}{'/' if e.is_dir() else ''}" for e in os.scandir(root / base)]
    except FileNotFoundError:
        return  # its last object was deleted just now
    for key in sorted(key for key in keys if _may_lead_on(key, prefix, after)):
        if key.endswith("/"):
            yield from _walk(root, key, prefix, after)
        else:
            yield key


def _may_lead_on(key: str, prefix: str, after: str) -> bool:
    """Whether an object, or one in a folder, is under `prefix` and beyond `after`."""
    if key[: len(prefix)] != prefix[: len(key)]:
        return False
    return key > after or (key.endswith("/") and after.startswith(key))


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _open_beside(path: Path) -> tuple[int, str]:
    """A fresh file in the folder of `path`, which a `delete` may just be taking away."""
    for _ in range(PUT_TRIES):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return tempfile.mkstemp(prefix=_HALF_WRITTEN, dir=path.parent)
    raise StorageUnavailable(f"The folder {path.parent.name} does not stay.")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

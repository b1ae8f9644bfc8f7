"""Object storage: bytes under names, and how the names are laid out.

    images/<account>/<sha256>/<image>       an uploaded picture, exactly as it came
    staging/<account>/<image>               bytes put through a signed URL, not looked at yet
    results/<account>/<job>/<attempt>/...   what one attempt made

An attempt writes under its own number, so a worker that lost its lease cannot overwrite
what the next one stored. `put` is atomic: an object is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.errors import NotFound, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEY = re.compile(r"(images|staging|results)(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
MASK_NAME = "mask.png"  #: of the mask that was made for a job without one
PUT_TRIES = 100


class ObjectStore(Protocol):
    """Bytes under names. Every method: `StorageUnavailable` when the storage does not answer."""

    def put(self, key: str, data: bytes) -> None:
        """Store `data`, whole or not at all, in place of what was there."""

    def get(self, key: str) -> bytes:
        """The bytes; `NotFound`."""

    def size(self, key: str) -> int:
        """How many bytes; `NotFound`."""

    def delete(self, key: str) -> None:
        """Remove it; nothing happens when it is not there."""

    def check(self) -> None:
        """Whether the storage answers and can be written to."""


def image_key(account_id: str, sha256: str, image_id: str) -> str:
    """Where the bytes of an image are kept."""
    return f"images/{account_id}/{sha256}/{image_id}"


def staging_key(account_id: str, image_id: str) -> str:
    """Where a client puts the bytes of an announced image."""
    return f"staging/{account_id}/{image_id}"


def result_key(account_id: str, job_id: str, attempt: int, name: str) -> str:
    """Where one attempt keeps one of its pictures."""
    return f"results/{account_id}/{job_id}/{attempt}/{name}"


def candidate_name(index: int, form: str) -> str:
    """What one of an attempt's pictures is called."""
    return f"{index}.{form}"


class FolderStore:
    """Objects as files in a folder; for one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        """Write beside the place, make it durable, then move it there."""
        with self._errors(f"{key} could not be stored"):
            path = self._path(key)
            descriptor, temporary = _open_beside(path)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
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

    def size(self, key: str) -> int:
        """Ask the file system."""
        with self._errors(f"{key} could not be read"):
            return self._path(key).stat().st_size

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        with self._errors(f"{key} could not be deleted"):
            path = self._path(key)
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self._folder or not _is_removed(parent):
                    break

    def check(self) -> None:
        """Write a file and remove it again."""
        with self._errors("the objects' folder cannot be written"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(prefix=".check-", dir=self._folder):
                pass

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
        if not _KEY.fullmatch(key):
            raise NotFound(f"There is no object {key!r}.")
        return self._folder / key


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
            return tempfile.mkstemp(prefix=".put-", dir=path.parent)
    raise StorageUnavailable(f"The folder {path.parent.name} does not stay.")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

"""The folder of an embedded service: its lock, its secrets, and where everything lies.

.towline/            0700
  lock               held while a service runs; the pid of its supervisor
  key, secret        0600, made once
  towline.db         the truth
  objects/           pictures
  broker/            Valkey's append-only file and its configuration
  run/NAME.pid       who was started, so that a later start can end what is left
  logs/NAME.log
  sample-result.png
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.embedded.failures import CannotStart

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Home:
    """A folder that nobody else uses while it is open."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def key(self) -> Path:
        return self.root / "key"

    @property
    def sample_result(self) -> Path:
        return self.root / "sample-result.png"

    def secret_key(self) -> str:
        """The service's secret, made at the first start."""
        path = self.root / "secret"
        return read_secret(path) or write_secret(path, secrets.token_urlsafe(48))


@contextmanager
def open_home(root: Path) -> Iterator[Home]:
    """Make the folder and hold its lock; `CannotStart` when either is impossible."""
    home = Home(root)
    try:
        for folder in (home.root, home.run, home.logs, home.broker):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(home.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except FileExistsError as error:
        problem = f"{error.filename} is not a folder"
        raise CannotStart(f"cannot use {root} as TOWLINE_HOME: {problem}") from None
    except OSError as error:
        raise CannotStart(f"cannot use {root} as TOWLINE_HOME: {error.strerror}") from None
    try:
        _take(lock, root)
        yield home
    finally:
        os.close(lock)


def _take(lock: int, root: Path) -> None:
    """The kernel frees the lock when the supervisor dies, however it dies."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 20, 0).decode().strip() or "unknown"
        raise CannotStart(f"{root} is already in use by a running service (pid {pid})") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def read_secret(path: Path) -> str:
    """What is in a secret's file; empty when there is none."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def write_secret(path: Path, secret: str) -> str:
    """One line, readable by its owner alone, there in full or not at all."""
    write_atomically(path, f"{secret}\n".encode())
    return secret


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step; only its owner may read it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

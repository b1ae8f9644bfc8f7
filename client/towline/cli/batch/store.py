"""The file of a run's memory: one process at a time, and what was written when.

SQLite's lock is held from the beginning to the end, so that two runs are never at work in one
folder; it ends with the process, however that ends.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from towline.cli.failures import USAGE, CommandFailed

VERSION = "1"
FOLDER = ".towline-batch"
FILE = "state.db"
COMMIT_S = 0.5
SLICE = 500  #: rows that are read at once, so that others can be written between

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
  path TEXT PRIMARY KEY, looked_at INTEGER NOT NULL DEFAULT 0,
  wrong TEXT, size_bytes INTEGER, mtime_ns INTEGER, sha256 TEXT,
  image_id TEXT, keeps_until REAL
);
CREATE TABLE lines (
  line INTEGER PRIMARY KEY, custom_id TEXT UNIQUE, names TEXT, part INTEGER, place INTEGER,
  body TEXT, image TEXT, mask TEXT, image_id TEXT, mask_id TEXT,
  status TEXT NOT NULL, job TEXT, item TEXT, files TEXT
);
CREATE INDEX lines_of_part ON lines (part, status, place);
CREATE INDEX lines_of_status ON lines (status, line);
CREATE TABLE names (folded TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE parts (
  part INTEGER PRIMARY KEY, retry_of TEXT, key TEXT, sealed_at REAL,
  skips INTEGER NOT NULL DEFAULT 0,
  batch_id TEXT, status TEXT
);
"""


class Store:
    """Rows, and when they are on the disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._commit_at = 0.0

    @classmethod
    @contextmanager
    def open(cls, out: Path) -> Iterator[Store]:
        """Of a folder; `CommandFailed` while another one has it."""
        folder = out / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(
            folder / FILE, timeout=0.2, isolation_level=None, check_same_thread=False
        )
        try:
            _lock(connection, out)
            for place in (folder, out, out.absolute().parent):
                _sync_folder(place)
            store = cls(connection)
            try:
                yield store
            finally:
                store.commit()
        finally:
            connection.close()

    def commit(self) -> None:
        """What was written so far is on the disk."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._commit_at = time.monotonic() + COMMIT_S

    def roll_back(self) -> None:
        """What was written since the last commit was never said."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def tick(self) -> None:
        """Commit, if the last time was a while ago."""
        if time.monotonic() >= self._commit_at:
            self.commit()

    def read(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        """Rows."""
        return self._db.execute(statement, values)

    def write(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """On the disk with the next commit."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN")
        return self._db.execute(statement, values)


def _lock(connection: sqlite3.Connection, out: Path) -> None:
    """The file is ours alone from here on; with its tables, if it is new."""
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        known = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if known is None:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('version', ?)", (VERSION,))
        connection.execute("COMMIT")
        row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CommandFailed(
                f"Another towline is at work in {out}.",
                hint="wait for it, or stop it; what it has done is kept.",
            ) from None
        raise CommandFailed(f"{out / FOLDER / FILE} cannot be used: {error}.") from None
    except sqlite3.DatabaseError as error:
        raise _unreadable(out, str(error)) from None
    if row is None or row[0] != VERSION:
        raise _unreadable(out, "another version of towline wrote it")


def _unreadable(out: Path, why: str) -> CommandFailed:
    return CommandFailed(
        f"What is kept of an earlier run in {out / FOLDER} cannot be read: {why}.",
        hint="name another --out: what was sent from here is not known any more.",
        exit_code=USAGE,
    )


def _sync_folder(folder: Path) -> None:
    """What was made in it is there after a power failure."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What a run has done so far: `OUT/.towline-batch/state.db`, so that the next one goes on.

What cannot be found out again is on the disk before it is acted upon: the idempotency key of a
submission before it is sent, the batch's id before its results are looked at. What can be found
out (an upload, a finished download) is written a little later, many at once.

    lines    one for each line of the manifest: its job, its part, what became of it
    images   one for each file: as it was when it was uploaded, and the image that it became
    parts    one for each batch: its key, its id; `retry_of` a batch of what had failed
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from towline.cli.batch.images import Images
from towline.cli.batch.lines import Lines
from towline.cli.batch.parts import Parts
from towline.cli.batch.store import FILE, FOLDER, Store
from towline.cli.failures import CommandFailed


def has_state(out: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (out / FOLDER / FILE).is_file()


class State:
    """The memory of one run; of one process at a time."""

    def __init__(self, store: Store, out: Path) -> None:
        self._store = store
        self.out = out
        self.lines, self.images, self.parts = Lines(store), Images(store), Parts(store)
        self.commit, self.roll_back, self.tick = store.commit, store.roll_back, store.tick

    @classmethod
    @contextmanager
    def open(cls, out: Path) -> Iterator[State]:
        """Of a folder; `CommandFailed` while another one has it."""
        try:
            with Store.open(out) as store:
                yield cls(store, out)
        except sqlite3.OperationalError as error:
            raise CommandFailed(
                f"What was done cannot be noted in {out / FOLDER}: {error}.",
                hint="make room, or mend what is wrong there; the same command goes on.",
            ) from None

    def get(self, name: str) -> str | None:
        """Something that was kept about the run."""
        row = self._store.read("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, name: str, value: str) -> None:
        self._store.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)

    @property
    def run_id(self) -> str:
        """By which the batches of this run are known at the service."""
        found = self.get("run")
        if found is None:
            found = uuid.uuid4().hex
            self.keep("run", found)
        return found

    @property
    def is_planned(self) -> bool:
        """Whether the manifest was read to its end."""
        return self.get("manifest_sha256") is not None

    def anything_was_sent(self) -> bool:
        """Whether the service may have a batch of this run."""
        statement = "SELECT 1 FROM parts WHERE key IS NOT NULL LIMIT 1"
        return self._store.read(statement).fetchone() is not None

    def forget_plan(self) -> None:
        """The manifest is to be read anew; uploads are still known."""
        for table in ("lines", "names", "parts"):
            self._store.write(f"DELETE FROM {table}")  # noqa: S608 - names of ours
        self._store.write("DELETE FROM meta WHERE name = 'manifest_sha256'")

    def add_retries(self) -> bool:
        """A part for each batch of which something failed; whether there is any."""
        batches = self.parts.to_retry()
        for batch_id in batches:
            self.parts.add_retry(batch_id)
        return bool(batches)

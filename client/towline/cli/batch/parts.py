"""The batches of a run: their keys, their ids, what is sent as each."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from towline.cli.batch.lines import WAITING
from towline.cli.batch.store import SLICE, Store


@dataclass(frozen=True)
class Part:
    """One batch of the run."""

    number: int
    retry_of: str | None
    key: str | None
    sealed_at: float | None
    skips_invalid: bool
    batch_id: str | None
    status: str | None  #: of the batch, as it was seen last; `done` once all of it is here

    @property
    def is_done(self) -> bool:
        return self.status == "done"


class Parts:
    """One row for each."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Part]:
        """All of them, in their order."""
        rows = self._store.read(
            "SELECT part, retry_of, key, sealed_at, skips, batch_id, status FROM parts"
            " ORDER BY part"
        )
        return [Part(*row) for row in rows]

    def get(self, number: int) -> Part:
        """One that is there."""
        found = self.find(number)
        assert found is not None, number  # noqa: S101 - whoever calls has it from here
        return found

    def find(self, number: int) -> Part | None:
        return next((each for each in self.all() if each.number == number), None)

    def seal(self, number: int, *, skips_invalid: bool) -> Part:
        """From now on what is sent as this part is always the same, under the same key."""
        self._store.write(
            "UPDATE lines SET"
            " image_id = (SELECT images.image_id FROM images WHERE path = lines.image),"
            " mask_id = (SELECT images.image_id FROM images WHERE path = lines.mask)"
            " WHERE part = ?",
            number,
        )
        self._renumber(number)
        self._store.write("UPDATE parts SET skips = ? WHERE part = ?", skips_invalid, number)
        return self._give_key(number)

    def _renumber(self, number: int) -> None:
        """Lines that were left out leave no gap."""
        self._store.write(
            "UPDATE lines SET place = numbered.place FROM (SELECT line, row_number()"
            " OVER (ORDER BY line) AS place FROM lines WHERE part = ?) AS numbered"
            " WHERE lines.line = numbered.line",
            number,
        )

    def _give_key(self, number: int) -> Part:
        self._store.write(
            "UPDATE parts SET key = ?, sealed_at = ? WHERE part = ?",
            str(uuid.uuid4()), time.time(), number,
        )  # fmt: skip
        self._store.commit()
        return self.get(number)

    def unseal(self, number: int) -> None:
        """The service did not take it, and has nothing of it."""
        self._store.write(
            "UPDATE parts SET key = NULL, sealed_at = NULL, batch_id = NULL, status = NULL"
            " WHERE part = ?",
            number,
        )
        self._store.commit()

    def bodies(self, number: int) -> Iterator[bytes]:
        """What is sent as a sealed part."""
        after = 0
        while True:
            rows = self._store.read(
                "SELECT line, body, image_id, mask_id FROM lines WHERE part = ? AND line > ?"
                " ORDER BY line LIMIT ?",
                (number, after, SLICE),
            ).fetchall()
            for _, body, image_id, mask_id in rows:
                job = json.loads(body)
                job["image"] = image_id
                if mask_id is not None:
                    job["mask"] = mask_id
                yield json.dumps(job, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            if len(rows) < SLICE:
                return
            after = rows[-1][0]

    def line_at(self, number: int, place: int | None) -> tuple[int, str | None] | None:
        """The manifest's line for a line of a batch, and its custom_id."""
        row = self._store.read(
            "SELECT line, custom_id FROM lines WHERE part = ? AND place = ?", (number, place)
        ).fetchone()
        return None if row is None else (int(row[0]), row[1])

    def sent(self, number: int, batch_id: str, status: str) -> None:
        """The service has it."""
        self._store.write(
            "UPDATE parts SET batch_id = ?, status = ? WHERE part = ?", batch_id, status, number
        )
        self._store.commit()

    def note_status(self, number: int, status: str) -> None:
        self._store.write("UPDATE parts SET status = ? WHERE part = ?", status, number)
        self._store.commit()

    def to_retry(self) -> list[str]:
        """The batches of which lines failed or expired, and were not tried again."""
        rows = self._store.read(
            "SELECT DISTINCT batch_id FROM lines JOIN parts USING (part)"
            " WHERE lines.status IN ('failed', 'expired') AND parts.status = 'done'"
            " ORDER BY part"
        )
        return [str(row[0]) for row in rows]

    def add_retry(self, batch_id: str) -> Part:
        """One more part, of what had failed in a batch; its key is on the disk."""
        row = self._store.read("SELECT coalesce(max(part), 0) + 1 FROM parts").fetchone()
        self._store.write("INSERT INTO parts (part, retry_of) VALUES (?, ?)", row[0], batch_id)
        return self._give_key(int(row[0]))

    def undo_retry(self, part: Part) -> None:
        """Its lines failed in the batch before, and still have; they can be tried again."""
        item = {"error": {"code": "rejected", "message": "It could not be tried again."}}
        self._store.write(
            "UPDATE lines SET status = 'failed', item = ?,"
            " part = (SELECT part FROM parts WHERE batch_id = ?) WHERE part = ?",
            json.dumps(item), part.retry_of, part.number,
        )  # fmt: skip
        self.drop(part.number)

    def drop(self, number: int) -> None:
        """A part that came to nothing."""
        self._store.write("DELETE FROM parts WHERE part = ?", number)
        self._store.commit()

    def retried(self, part: Part, batch_id: str, status: str) -> None:
        """The lines that had failed wait for the new batch from now on."""
        self._store.write(
            "UPDATE lines SET status = ?, part = ?, place = NULL, job = NULL, item = NULL"
            " WHERE status IN ('failed', 'expired') AND part ="
            " (SELECT part FROM parts WHERE batch_id = ?)",
            WAITING, part.number, part.retry_of,
        )  # fmt: skip
        self.sent(part.number, batch_id, status)

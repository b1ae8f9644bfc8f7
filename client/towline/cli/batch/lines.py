"""The lines of the manifest, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from towline.cli.batch.names import folded, names_of, stem_of
from towline.cli.batch.store import SLICE, Store

WAITING = "waiting"


class Lines:
    """One row for each."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def number_of(self, custom_id: str) -> int | None:
        """The number of the line that has this name."""
        statement = "SELECT line FROM lines WHERE custom_id = ?"
        row = self._store.read(statement, (custom_id,)).fetchone()
        return None if row is None else int(row[0])

    def add(self, number: int, job: dict[str, Any], part: int, place: int) -> list[str]:
        """A line that is right; the names of its pictures."""
        custom_id, mask = str(job["custom_id"]), job.get("mask")
        names = self._take_names(custom_id, number, job)
        self._store.write(
            "INSERT INTO lines (line, custom_id, names, part, place, body, image, mask, status)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            number, custom_id, json.dumps(names), part, place,
            json.dumps(job, ensure_ascii=False, separators=(",", ":")),
            job["image"], mask if isinstance(mask, str) else None, WAITING,
        )  # fmt: skip
        self._store.write("INSERT OR IGNORE INTO parts (part) VALUES (?)", part)
        return names

    def _take_names(self, custom_id: str, number: int, job: dict[str, Any]) -> list[str]:
        stem = stem_of(custom_id)
        for tried in (stem, f"{stem}~{number}"):
            names = names_of(tried, job)
            marks = ",".join("?" * len(names))
            taken = self._store.read(
                f"SELECT 1 FROM names WHERE folded IN ({marks})",  # noqa: S608 - question marks
                [folded(name) for name in names],
            ).fetchone()
            if taken is None:
                break
        for name in names:
            self._store.write("INSERT INTO names VALUES (?)", folded(name))
        return names

    def add_invalid(self, number: int, custom_id: str | None, wrong: list[str]) -> None:
        """A line that is left out."""
        if custom_id is not None and self.number_of(custom_id) is not None:
            custom_id = None
        item = {"error": {"code": "invalid_line", "message": "; ".join(wrong)}}
        self._store.write(
            "INSERT INTO lines (line, custom_id, status, item) VALUES (?, ?, 'invalid', ?)",
            number, custom_id, json.dumps(item, ensure_ascii=False),
        )  # fmt: skip

    def leave_out(self, number: int, wrong: str) -> None:
        """A line whose picture the service does not take."""
        item = {"error": {"code": "invalid_line", "message": wrong}}
        self._store.write(
            "UPDATE lines SET status = 'invalid', part = NULL, item = ? WHERE line = ?",
            json.dumps(item, ensure_ascii=False), number,
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Lines by what became of them."""
        rows = self._store.read("SELECT status, count(*) FROM lines GROUP BY status")
        return {str(status): int(count) for status, count in rows}

    def finish(
        self, custom_id: str, status: str, job: str | None, item: dict[str, Any], files: list[str]
    ) -> None:
        """A line that has ended, with all its pictures here."""
        self._store.write(
            "UPDATE lines SET status = ?, job = ?, item = ?, files = ? WHERE custom_id = ?",
            status, job, json.dumps(item, ensure_ascii=False), json.dumps(files), custom_id,
        )  # fmt: skip

    def waits_for(self, part: int, custom_id: str) -> list[str] | None:
        """The names for the pictures of a line of a part that has not ended here; else None."""
        row = self._store.read(
            "SELECT names FROM lines WHERE custom_id = ? AND part = ? AND status = ?",
            (custom_id, part, WAITING),
        ).fetchone()
        return None if row is None else list(json.loads(row[0]))

    def count_without_pictures(self) -> int:
        """Those that succeeded, but whose pictures the service had no more."""
        statement = "SELECT count(*) FROM lines WHERE status = 'succeeded' AND files = '[]'"
        return int(self._store.read(statement).fetchone()[0])

    def count(self, part: int) -> int:
        """How many lines a part has."""
        row = self._store.read("SELECT count(*) FROM lines WHERE part = ?", (part,)).fetchone()
        return int(row[0])

    def end_rest(self, part: int, status: str, code: str, message: str) -> None:
        """What of a part has no end of its own ends so."""
        item = {"error": {"code": code, "message": message}}
        self._store.write(
            "UPDATE lines SET status = ?, item = ? WHERE part = ? AND status = ?",
            status,
            json.dumps(item, ensure_ascii=False),
            part,
            WAITING,
        )

    def first_waiting(self, part: int) -> int | None:
        """The place of the first line of a part that has not ended here."""
        row = self._store.read(
            "SELECT min(place) FROM lines WHERE part = ? AND status = ?", (part, WAITING)
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def waiting(self, part: int) -> int:
        """How many lines of a part have not ended here."""
        row = self._store.read(
            "SELECT count(*) FROM lines WHERE part = ? AND status = ?", (part, WAITING)
        ).fetchone()
        return int(row[0])

    def all(self, *statuses: str) -> Iterator[dict[str, Any]]:
        """What became of each line (of these states), in their order."""
        wanted, after = json.dumps(statuses), 0
        while True:
            rows = self._store.read(
                "SELECT line, custom_id, lines.status, job, item, files, batch_id"
                " FROM lines LEFT JOIN parts USING (part) WHERE line > ?1 AND (?2 = '[]'"
                " OR lines.status IN (SELECT value FROM json_each(?2)))"
                " ORDER BY line LIMIT ?3",
                (after, wanted, SLICE),
            ).fetchall()
            for line, custom_id, status, job, item, files, batch_id in rows:
                yield {
                    "line": line,
                    "custom_id": custom_id,
                    "status": status,
                    "batch": batch_id,
                    "job": job,
                    "files": json.loads(files or "[]"),
                    "result": None,
                    "error": None,
                    **json.loads(item or "{}"),
                }
            if len(rows) < SLICE:
                return
            after = rows[-1][0]

    def forget_missing_files(self, out: Path) -> int:
        """Lines whose pictures somebody removed are fetched again; how many they are."""
        missing = [
            each["custom_id"]
            for each in self.all("succeeded")
            if not all((out / name).exists() for name in each["files"])
        ]
        for custom_id in missing:
            self._store.write(
                "UPDATE lines SET status = ?, files = NULL WHERE custom_id = ?", WAITING, custom_id
            )
            self._store.write(
                "UPDATE parts SET status = 'running' WHERE part ="
                " (SELECT part FROM lines WHERE custom_id = ?)",
                custom_id,
            )
        self._store.commit()
        return len(missing)

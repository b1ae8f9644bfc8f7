"""The files that the manifest names, as they were when they were uploaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from towline.cli.batch.store import SLICE, Store


@dataclass(frozen=True)
class Upload:
    """A file of the manifest, and what is known of it."""

    path: str
    size_bytes: int | None
    mtime_ns: int | None
    image_id: str | None
    keeps_until: float | None


class Images:
    """One row for each."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look(self, path: str) -> tuple[bool, str | None]:
        """Whether it was looked at, and what is wrong with it."""
        row = self._store.read(
            "SELECT wrong FROM images WHERE path = ? AND looked_at", (path,)
        ).fetchone()
        return (False, None) if row is None else (True, row[0])

    def note(self, path: str, wrong: str | None) -> None:
        """It was looked at."""
        self._store.write(
            "INSERT INTO images (path, wrong, looked_at) VALUES (?, ?, 1)"
            " ON CONFLICT (path) DO UPDATE SET wrong = excluded.wrong, looked_at = 1",
            path,
            wrong,
        )

    def forget_wrongs(self) -> None:
        """Files are looked at anew, by `look` as if for the first time."""
        self._store.write("UPDATE images SET wrong = NULL, looked_at = 0")

    def of_part(self, part: int) -> Iterator[Upload]:
        """The files that a part needs, in slices: others may be written meanwhile."""
        after = ""
        while True:
            rows = self._store.read(
                "SELECT path, size_bytes, mtime_ns, image_id, keeps_until FROM images"
                " WHERE path > ?1 AND (path IN (SELECT image FROM lines WHERE part = ?2)"
                " OR path IN (SELECT mask FROM lines WHERE part = ?2))"
                " ORDER BY path LIMIT ?3",
                (after, part, SLICE),
            ).fetchall()
            yield from (Upload(*row) for row in rows)
            if len(rows) < SLICE:
                return
            after = rows[-1][0]

    def count(self, part: int) -> int:
        """How many files a part needs."""
        row = self._store.read(
            "SELECT count(*) FROM (SELECT image FROM lines WHERE part = ?1"
            " UNION SELECT mask FROM lines WHERE part = ?1 AND mask IS NOT NULL)",
            (part,),
        ).fetchone()
        return int(row[0])

    def uploaded(
        self, path: str, stat: os.stat_result, image_id: str, sha256: str, keeps_until: float
    ) -> None:
        """A file is an image now."""
        self._store.write(
            "UPDATE images SET wrong = NULL, size_bytes = ?, mtime_ns = ?, image_id = ?,"
            " sha256 = ?, keeps_until = ? WHERE path = ?",
            stat.st_size, stat.st_mtime_ns, image_id, sha256, keeps_until, path,
        )  # fmt: skip

    def forget(self, part: int) -> None:
        """The images of a part may be gone at the service."""
        self._store.write(
            "UPDATE images SET image_id = NULL WHERE path IN (SELECT image FROM lines"
            " WHERE part = ?1 UNION SELECT mask FROM lines WHERE part = ?1)",
            part,
        )

    def wrong_lines(self, part: int) -> list[tuple[int, str | None, str]]:
        """Line, custom_id and what is wrong with the file."""
        rows = self._store.read(
            "SELECT line, custom_id, wrong FROM lines JOIN images ON path IN (image, mask)"
            " WHERE part = ? AND wrong IS NOT NULL ORDER BY line",
            (part,),
        )
        return [(int(line), custom_id, str(wrong)) for line, custom_id, wrong in rows]

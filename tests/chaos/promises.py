"""What clients were told: an append-only log, written when it was told, read at the end.

It knows nothing of the product but its HTTP contract. A line is one thing that happened:

    sent      a submission left; until an answer came, it may have been taken or not
    accepted  the answer had a job in it: a promise
    refused   the answer said that there is no job
    seen      a job as it was shown
    cancel    a cancel was answered; `asked` without an answer: maybe
    delete    a delete was answered; `asked` without an answer: maybe
    image     an upload was answered with an id
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


class Promises:
    """Written by many threads; each line is on its way to the disk before the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", buffering=1)
        self._lock = threading.Lock()

    def note(self, what: str, **data: Any) -> None:
        """Write one line, with the time."""
        line = json.dumps({"at": time.time(), "what": what, **data})
        with self._lock:
            self._file.write(line + "\n")

    def job(self, what: str, job: dict[str, Any], **data: Any) -> None:
        """Write down a job as an answer showed it."""
        self.note(what, job=job["id"], shown=shown(job), **data)

    def close(self) -> None:
        self._file.close()


def shown(job: dict[str, Any]) -> dict[str, Any]:
    """What of an answer may not change once it is final."""
    result = job["result"]
    return {
        "status": job["status"],
        "attempt": job["attempt"],
        "started_at": job["started_at"],
        "finished_at": job["finished_at"],
        "error": job["error"],
        "pictures": result and [c["sha256"] for c in result["candidates"]],
        "retried_from": job["retried_from"],
        "token": job["metadata"].get("token"),
    }


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every line, the oldest first."""
    with path.open() as file:
        for line in file:
            yield json.loads(line)

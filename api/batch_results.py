"""What became of a batch, line by line, and as an archive: read and sent a page at a time."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from shared.errors import NotFound
from shared.jobs.shown import show_job
from shared.jobs.state import JobState

if TYPE_CHECKING:
    from shared.batches.store import BatchStore, ItemNow
    from shared.jobs.shown import Links
    from shared.objects import ObjectStore

log = structlog.get_logger()

PAGE = 200
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+|\.{2,}")
NAME_CHARACTERS = 60  #: of a `custom_id` in the name of a file
DOS_EPOCH = (1980, 1, 1, 0, 0, 0)  #: ZIP has no earlier time; which one matters to nobody


@dataclass(frozen=True, slots=True)
class Reader:
    """A batch's items, for as long as somebody reads them."""

    batches: BatchStore
    account_id: str
    batch_id: str

    def items(self, after_line: int = 0, limit: int | None = None) -> Iterator[ItemNow]:
        """Every line beyond one, as it is when its page is read; no transaction is kept open."""
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = self.batches.items(
                self.account_id, self.batch_id, after_line=after_line, limit=size
            )
            yield from page
            if len(page) < size:
                return
            after_line = page[-1].line
            left = None if left is None else left - size


def show_item(item: ItemNow, links: Links) -> dict[str, Any]:
    """A line of the results."""
    shown = {"line": item.line, "custom_id": item.custom_id, "job": item.job_id}
    if item.invalid is not None:
        errors = [
            {"pointer": v.pointer, "code": v.code, "detail": v.detail}
            for v in item.invalid.violations
        ]
        codes = {error["code"] for error in errors}
        error = {
            "code": codes.pop() if len(codes) == 1 else "invalid_request",
            "message": "; ".join(f"{e['pointer'] or '/'}: {e['detail']}" for e in errors),
            "retryable": False,
            "errors": errors,
        }
        return {**shown, "status": "invalid", "result": None, "error": error}
    if item.job is None:
        return {**shown, "status": _status_without_job(item), "result": None, "error": None}
    job = show_job(item.job, links)
    return {**shown, **{name: job[name] for name in ("status", "result", "error")}}


def _status_without_job(item: ItemNow) -> str:
    """Deleted by its owner or past its retention; or it never became a job, and waits for that."""
    if item.job_id is not None:
        return "deleted"
    return "canceled" if item.is_withdrawn else "queued"


def lines_of(items: Iterator[ItemNow], links: Links) -> Iterator[bytes]:
    """JSONL."""
    for item in items:
        yield json.dumps(show_item(item, links), ensure_ascii=False).encode() + b"\n"


class _Pipe:
    """A file that cannot be read from or sought in: what is written is taken away at once."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data


def archive_of(reader: Reader, links: Links, objects: ObjectStore) -> Iterator[bytes]:
    """A ZIP of every picture that is there, and `results.jsonl`, which names their files.

    One picture is in memory at a time, and half a kilobyte for each that was sent: what the
    directory at a ZIP's end says of it.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for item in reader.items():
            for _, name, key in _pictures(item):
                try:
                    data = objects.get(key)
                except NotFound:  # deleted meanwhile
                    continue
                archive.writestr(zipfile.ZipInfo(name, DOS_EPOCH), data)
                yield pipe.take()
        with archive.open(zipfile.ZipInfo("results.jsonl", DOS_EPOCH), "w") as file:
            for item in reader.items():
                line = json.dumps(_in_archive(item, links, archive.NameToInfo), ensure_ascii=False)
                file.write(line.encode() + b"\n")
                yield pipe.take()
    yield pipe.take()


def _pictures(item: ItemNow) -> Iterator[tuple[int, str, str]]:
    """Index, name in the archive, and key of each picture of an item that is still there."""
    if item.job is not None and item.job.pictures_gone_at is None:
        yield from _made(item)


def _made(item: ItemNow) -> Iterator[tuple[int, str, str]]:
    """The same, whether they are there or not."""
    job = item.job
    if job is None or job.status is not JobState.SUCCEEDED:
        return
    candidates = (job.result or {}).get("candidates", [])
    for candidate in candidates:
        which = f"-{candidate['index']}" if len(candidates) > 1 else ""
        yield candidate["index"], _name(item, which, candidate["key"]), candidate["key"]


def _name(item: ItemNow, which: str, key: str) -> str:
    """The line makes it unique, the `custom_id` makes it known."""
    stem = _UNSAFE.sub("_", item.custom_id or "")[:NAME_CHARACTERS].strip(".")
    return f"pictures/{item.line:05d}-{stem}{which}.{key.rpartition('.')[2]}"


def _in_archive(item: ItemNow, links: Links, sent: Container[str]) -> dict[str, Any]:
    """The line of an item with the names of files in the place of URLs, which would not last."""
    shown = show_item(item, links)
    if shown["result"] is None:
        return shown
    files = {index: name for index, name, _ in _made(item) if name in sent}
    candidates = [
        {
            **{part: value for part, value in candidate.items() if part != "url"},
            "file": files.get(candidate["index"]),
        }
        for candidate in shown["result"]["candidates"]
    ]
    return {**shown, "result": {**shown["result"], "candidates": candidates, "mask_url": None}}

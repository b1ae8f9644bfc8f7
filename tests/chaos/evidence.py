"""What there is at the end: rows, events, objects and answers, each read at its source.

Not through the product's stores: SQL, S3 and HTTP, so that what they say can be compared.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from psycopg.rows import dict_row

from tests.chaos.promises import read, shown
from tests.chaos.stage import Stage

PAGE = 100
READERS = 8


class Event(NamedTuple):
    """A state that a job reached; `at` in seconds since 1970, by the database's clock."""

    status: str
    attempt: int
    at: float


@dataclass(frozen=True)
class Ended:
    """A process that ended, and why as far as it is known."""

    name: str
    pid: int
    at: float
    status: int


@dataclass
class Evidence:
    """Everything the oracle looks at."""

    promises: list[dict[str, Any]]
    rows: dict[str, dict[str, Any]]
    events: dict[str, list[Event]]
    images: dict[str, dict[str, Any]]
    objects: dict[str, int]  #: key and size
    hashes: dict[str, str]  #: SHA-256 of the objects that a row points to, by key
    answers: dict[str, dict[str, Any]]  #: each job as the API shows it now
    drains: dict[str, int] = field(default_factory=dict)  #: how often each job was given back
    ended: list[Ended] = field(default_factory=list)
    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  #: process, log line

    def write(self, path: Path) -> None:
        """What is lost with the servers, to be looked at later."""
        lost = ("rows", "events", "images", "objects", "hashes", "answers", "drains")
        ended = [asdict(end) for end in self.ended]
        data = {**{name: getattr(self, name) for name in lost}, "ended": ended}
        path.write_text(json.dumps(data))


def gather(stage: Stage, promises: Path, keys: dict[str, str]) -> Evidence:
    """Read everything. The run is over, every server is well."""
    with stage.sql() as connection:
        connection.row_factory = dict_row
        rows = {row["id"]: row for row in connection.execute("SELECT * FROM jobs")}
        images = {row["id"]: row for row in connection.execute("SELECT * FROM images")}
        events: dict[str, list[Event]] = defaultdict(list)
        for row in connection.execute("SELECT * FROM job_events ORDER BY id"):
            data = row["data"]
            event = Event(data["status"], data["attempt"], row["created_at"] / 1000)
            events[row["job_id"]].append(event)
    client = stage.servers.s3.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=stage.bucket)
    objects = {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}
    pointed = [key for row in rows.values() for key in keys_of(row)]
    pointed += [row["object_key"] for row in images.values() if row["object_key"]]

    def hash_of(key: str) -> str:
        body = client.get_object(Bucket=stage.bucket, Key=key)["Body"].read()
        return hashlib.sha256(body).hexdigest()

    there = [key for key in pointed if key in objects]
    with ThreadPoolExecutor(READERS) as pool:
        hashes = dict(zip(there, pool.map(hash_of, there), strict=True))
    answers = {job["id"]: shown(job) for key in keys.values() for job in _list(stage, key)}
    said = list(_said(stage))
    return Evidence(
        promises=list(read(promises)), rows=rows, events=events, images=images, objects=objects,
        hashes=hashes, answers=answers, drains=_drains(said), ended=_ended(stage), said=said,
    )  # fmt: skip


def keys_of(row: dict[str, Any]) -> list[str]:
    """The objects that a job's row points to."""
    result = row["result"]
    if not result:
        return []
    keys = [candidate["key"] for candidate in result["candidates"]]
    return [*keys, result["mask_key"]] if result["mask_key"] else keys


def log_time(line: dict[str, Any]) -> float:
    """When a log line was written, in seconds since 1970."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _list(stage: Stage, key: str) -> Iterator[dict[str, Any]]:
    """Every job of an account, page by page."""
    url = next(iter(stage.urls.values()))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        cursor: dict[str, str] = {}
        while True:
            answer = client.get("/v1/jobs", params={"limit": PAGE, **cursor})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield from page["data"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}


def _said(stage: Stage) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the processes logged; of the API's, all but one line a request."""
    for actor in stage.actors.values():
        for life in actor.lives:
            for text in life.log.read_text(errors="replace").splitlines():
                if text.startswith('{"') and '"event": "request"' not in text:
                    try:
                        yield actor.name, json.loads(text)
                    except ValueError:  # cut off by the end of the process
                        continue


def _drains(said: list[tuple[str, dict[str, Any]]]) -> dict[str, int]:
    drains: dict[str, int] = defaultdict(int)
    for _, line in said:
        is_drained = line["event"] == "job_stopped" and line["reason"] == "WorkerDrains"
        if is_drained or line["event"] == "claim_given_back":
            drains[line["job"]] += 1
    return drains


def _ended(stage: Stage) -> list[Ended]:
    return [
        Ended(actor.name, life.pid, life.ended_at, life.process.returncode)
        for actor in stage.actors.values()
        for life in actor.lives
        if life.ended_at is not None
    ]

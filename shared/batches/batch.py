"""A batch as a value: the row, how many of its items are where, and what was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.batches.state import BatchState
from shared.edits import JobSpec, JobWebhook
from shared.errors import Violation
from shared.jobs.cache_keys import Contents
from shared.times import rfc3339, rfc3339_or_none

if TYPE_CHECKING:
    from sqlalchemy import Row

MAX_LINES = 50_000
MAX_BYTES = 200 * 2**20
MAX_LINE_BYTES = 2**20
MAX_JOBS_AT_ONCE = 1_000  #: of a JSON body, which is checked before it is answered
MAX_UNREAD = 20  #: batches of one account whose lines wait to be read
MAX_CUSTOM_ID = 128  #: characters
MAX_ERRORS_SHOWN = 10_000
WHOLE = 0  #: the line of what is wrong with the batch as a whole


@dataclass(frozen=True, slots=True)
class Item:
    """A line that can be run.

    pixels: of the pictures that it asks for. contents: what its images hold, if an earlier result
    may stand for them.
    """

    line: int
    custom_id: str
    spec: JobSpec
    metadata: Mapping[str, str]
    pixels: int
    contents: Contents | None = None


@dataclass(frozen=True, slots=True)
class Invalid:
    """A line that cannot; `custom_id` if it said one."""

    line: int
    custom_id: str | None
    violations: Sequence[Violation]

    def to_json(self) -> dict[str, Any]:
        """The form that is stored."""
        errors = [[v.pointer, v.code, v.detail] for v in self.violations]
        return {"custom_id": self.custom_id, "errors": errors}

    @classmethod
    def from_json(cls, line: int, value: Mapping[str, Any]) -> Invalid:
        """Read what `to_json` wrote."""
        return cls(line, value["custom_id"], [Violation(*error) for error in value["errors"]])

    def shown(self) -> list[dict[str, Any]]:
        """The entries of a batch's `errors`; the line is null for the batch as a whole."""
        return [
            {
                "line": self.line or None,
                "custom_id": self.custom_id,
                "pointer": violation.pointer,
                "code": violation.code,
                "detail": violation.detail,
            }
            for violation in self.violations
        ]


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What its owner says of a batch beside its items."""

    skips_invalid: bool = False
    webhook: JobWebhook | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of `batches` as it was when it was read. Times are milliseconds since 1970.

    ended: how many of its jobs have ended, by state. running: how many run.
    """

    id: str
    account_id: str
    status: BatchState
    skips_invalid: bool
    webhook: JobWebhook | None
    metadata: Mapping[str, str]
    retried_from: str | None
    object_key: str | None
    size_bytes: int
    read_bytes: int
    lines: int
    total: int
    invalid: int
    pixels: int
    waiting: int
    withdrawn: int
    created_at: int
    accepted_at: int | None
    cancel_requested_at: int | None
    finished_at: int | None
    ended: Mapping[str, int]
    running: int

    @property
    def counts(self) -> dict[str, int]:
        """How many items are where; all but `total` add up to it."""
        ended = {name: self.ended.get(name, 0) for name in ("succeeded", "failed", "expired")}
        canceled = self.ended.get("canceled", 0) + self.withdrawn
        is_over = self.status is BatchState.REJECTED
        gone = sum(ended.values()) + canceled + self.running + self.invalid
        return {
            "total": self.total,
            "queued": 0 if is_over else self.total - gone,
            "running": self.running,
            **ended,
            "canceled": self.total - self.invalid if is_over else canceled,
            "invalid": self.invalid,
        }


_OTHERWISE = {"status", "webhook", "ended", "running"}


def batch_from_row(row: Row[Any], ended: Mapping[str, int], running: int) -> Batch:
    """Read a row of `batches`."""
    columns = row._mapping
    plain = {name: columns[name] for name in Batch.__slots__ if name not in _OTHERWISE}
    return Batch(
        status=BatchState(columns["status"]),
        webhook=webhook_from_json(columns["webhook"]),
        ended=ended,
        running=running,
        **plain,
    )


def webhook_from_json(value: Mapping[str, Any] | None) -> JobWebhook | None:
    """Read what `webhook_to_json` wrote."""
    return None if value is None else JobWebhook(value["url"], tuple(value["events"]))


def webhook_to_json(webhook: JobWebhook | None) -> dict[str, Any] | None:
    """The form that is stored and shown."""
    return None if webhook is None else {"url": webhook.url, "events": list(webhook.events)}


def show_batch(batch: Batch, invalid: Sequence[Invalid] = ()) -> dict[str, Any]:
    """The batch as the JSON of the contract; with the first of its errors."""
    errors = [entry for each in invalid for entry in each.shown()]
    return {
        "id": batch.id,
        "status": batch.status.value,
        "created_at": rfc3339(batch.created_at),
        "accepted_at": rfc3339_or_none(batch.accepted_at),
        "finished_at": rfc3339_or_none(batch.finished_at),
        "counts": batch.counts,
        "lines": {"read": batch.lines},
        "on_invalid": "skip" if batch.skips_invalid else "reject",
        "errors": errors[:MAX_ERRORS_SHOWN],
        "errors_truncated": len(errors) > MAX_ERRORS_SHOWN,
        "cancel_requested": batch.cancel_requested_at is not None,
        "retried_from": batch.retried_from,
        "webhook": webhook_to_json(batch.webhook),
        "metadata": dict(batch.metadata),
    }

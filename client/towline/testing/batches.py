"""The batches of the fake: a step further each time that somebody looks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from towline._core.payloads import as_json
from towline.testing.jobs import FINAL, Jobs
from towline.testing.refusals import Refusal, Wrong
from towline.testing.store import Json, Store, found, now
from towline.testing.webhooks import Webhooks

FINAL_BATCH = frozenset({"completed", "canceled", "rejected"})


@dataclass
class Batch:
    """A batch and its lines; its jobs are among the others."""

    shown: Json
    lines: list[Json]  #: line, custom_id, body, job or None, wrong
    on_invalid: str


class Batches:
    """Many jobs, sent as one."""

    def __init__(self, store: Store, jobs: Jobs, webhooks: Webhooks) -> None:
        self._store, self._jobs, self._webhooks = store, jobs, webhooks
        self.all: dict[str, Batch] = {}

    def _announce(self, kind: str, batch: Batch) -> None:
        data = self.show(batch.shown["id"])
        del data["errors"]
        self._webhooks.announce(kind, data, batch.shown["webhook"])

    def add(self, data: bytes, on_invalid: str, webhook: Any, labels: Json) -> Json:
        """A batch whose lines are still to be looked at."""
        batch_id = self._store.new_id("bat")
        lines = [
            {"line": number, "text": text}
            for number, text in enumerate(data.split(b"\n"), 1)
            if text.strip()
        ]
        shown: Json = {
            "id": batch_id,
            "status": "validating",
            "created_at": now(),
            "accepted_at": None,
            "finished_at": None,
            "lines": {"read": 0},
            "on_invalid": on_invalid,
            "errors": [],
            "errors_truncated": False,
            "cancel_requested": False,
            "retried_from": None,
            "webhook": webhook,
            "metadata": labels,
        }
        self.all[batch_id] = Batch(shown, lines, on_invalid)
        return self.show(batch_id)

    def look(self, batch_id: str) -> Json:
        """A batch; what is not held is a step further each time that somebody looks."""
        batch = found(self.all, "batch", batch_id)
        if batch.shown["status"] == "validating":
            self._validate(batch)
        elif batch.shown["status"] == "running":
            for line in batch.lines:
                if line["job"] and not self._jobs.are_held:
                    self._jobs.look(line["job"])
            self._end_batch(batch)
        return self.show(batch_id)

    def _end_batch(self, batch: Batch) -> None:
        states = [self._jobs.all[line["job"]]["status"] for line in batch.lines if line["job"]]
        if batch.shown["status"] == "running" and all(state in FINAL for state in states):
            batch.shown.update(status="completed", finished_at=now())
            self._announce("batch.completed", batch)

    def _validate(self, batch: Batch) -> None:
        seen: set[str] = set()
        for line in batch.lines:
            body, custom_id, wrong = self._read_line(line.pop("text"), seen)
            line.update(custom_id=custom_id, job=None, body=body, wrong=wrong)
            batch.shown["errors"] += [
                {"line": line["line"], "custom_id": custom_id, "pointer": at, "code": code,
                 "detail": detail}
                for at, code, detail in wrong
            ]  # fmt: skip
        batch.shown["lines"] = {"read": max((line["line"] for line in batch.lines), default=0)}
        if batch.shown["errors"] and batch.on_invalid == "reject":
            batch.shown.update(status="rejected", finished_at=now())
            self._announce("batch.rejected", batch)
            return
        batch.shown.update(status="running", accepted_at=now())
        for line in batch.lines:
            if not line["wrong"]:
                job = self._jobs.submit(line["body"], batch=batch.shown["id"])
                line["job"] = job["id"]

    def _read_line(self, text: bytes, seen: set[str]) -> tuple[Any, str | None, list[Wrong]]:
        """The edit of a line, what it is called, and what is wrong with it."""
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return None, None, [("", "malformed_line", "the line is no JSON object")]
        is_there, custom_id = "custom_id" in body, body.pop("custom_id", None)
        wrong = self._jobs.wrong_with(body)
        if not isinstance(custom_id, str):
            code = "wrong_type" if is_there else "missing_field"
            return body, None, [("/custom_id", code, "a custom_id is needed"), *wrong]
        if not wrong and custom_id in seen:
            said = f"another line before it is called {custom_id!r}"
            wrong = [("/custom_id", "duplicate_custom_id", said)]
        if not wrong:
            seen.add(custom_id)
        return body, custom_id, wrong

    def show(self, batch_id: str, *, with_errors: bool = True) -> Json:
        batch = self.all[batch_id]
        names = ("queued", "running", "succeeded", "failed", "canceled", "expired", "invalid")
        counts = {"total": 0, **dict.fromkeys(names, 0)}
        if batch.shown["status"] != "validating":
            for line in batch.lines:
                counts["total"] += 1
                counts[self._status_of(line)] += 1
        shown = {**batch.shown, "counts": counts}
        return shown if with_errors else {**shown, "errors": []}

    def _status_of(self, line: Json) -> str:
        if line.get("job"):
            return str(self._jobs.all[line["job"]]["status"])
        return "invalid" if line.get("wrong") else "canceled"

    def cancel(self, batch_id: str) -> Json:
        batch = found(self.all, "batch", batch_id)
        if batch.shown["status"] not in FINAL_BATCH:
            if batch.shown["status"] == "validating":
                for line in batch.lines:
                    line.pop("text", None)
            for line in batch.lines:
                if line.get("job"):
                    self._jobs.finish(line["job"], "canceled")
            batch.shown.update(status="canceled", finished_at=now(), cancel_requested=True)
            self._announce("batch.canceled", batch)
        return self.show(batch_id)

    def retry(self, batch_id: str) -> Json:
        batch = found(self.all, "batch", batch_id)
        if batch.shown["status"] not in FINAL_BATCH:
            raise Refusal("batch_not_final", f"{batch_id} is {batch.shown['status']}.")
        again = [line for line in batch.lines if self._status_of(line) in ("failed", "expired")]
        if not again:
            raise Refusal("nothing_to_retry", f"Nothing of {batch_id} failed or expired.")
        lines = b"\n".join(
            as_json({**line["body"], "custom_id": line["custom_id"]}) for line in again
        )
        new = self.add(lines, "reject", batch.shown["webhook"], batch.shown["metadata"])
        self.all[new["id"]].shown["retried_from"] = batch_id
        return self.show(new["id"])

    def items(self, batch_id: str, after_line: int) -> list[Json]:
        """A line for each."""
        batch = found(self.all, "batch", batch_id)
        if batch.shown["status"] == "validating":
            return []
        return [self._item(line) for line in batch.lines if line["line"] > after_line]

    def _item(self, line: Json) -> Json:
        job = self._jobs.show(self._jobs.all[line["job"]]) if line.get("job") else None
        error = job["error"] if job else None
        if line.get("wrong"):
            names = ("pointer", "code", "detail")
            wrong = [dict(zip(names, each, strict=True)) for each in line["wrong"]]
            codes = {each["code"] for each in wrong}
            code = codes.pop() if len(codes) == 1 else "invalid_request"
            error = {"code": code, "message": wrong[0]["detail"], "retryable": False}
            error["errors"] = wrong
        return {
            "line": line["line"],
            "custom_id": line.get("custom_id"),
            "job": line.get("job"),
            "status": self._status_of(line),
            "result": job["result"] if job else None,
            "error": error,
        }

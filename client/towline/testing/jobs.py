"""The jobs of the fake."""

from __future__ import annotations

import secrets
from typing import Any

from towline.testing.edits import wrong_with
from towline.testing.images import Images
from towline.testing.refusals import Refusal, invalid
from towline.testing.store import Json, Store, deleted, found, now
from towline.testing.webhooks import Webhooks

FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})
ENGINE = "warp"


class Jobs:
    """They end when somebody looks at them, unless they are held."""

    def __init__(self, store: Store, images: Images, webhooks: Webhooks) -> None:
        self._store, self._images, self._webhooks = store, images, webhooks
        self.all: dict[str, Json] = {}
        self.are_held = False
        self._history: dict[str, list[tuple[str, str, Json]]] = {}
        images.is_needed = self._need

    def _need(self, image_id: str) -> bool:
        return any(
            image_id in (job["request"]["image"], job["request"]["mask"])
            for job in self.all.values()
            if job["status"] not in FINAL
        )

    def wrong_with(self, body: Any) -> list[tuple[str, str, str]]:
        """What a submission would be refused for."""
        return wrong_with(body, self._images.size_of, ENGINE)

    def submit(self, body: Any, *, batch: str | None = None, retried_from: Any = None) -> Json:
        """A new job."""
        wrong = self.wrong_with(body)
        if wrong:
            raise invalid(wrong)
        job_id = self._store.new_id("job")
        expires_in_s = body.get("expires_in_s")
        job: Json = {
            "id": job_id,
            "status": "queued",
            "created_at": now(),
            "started_at": None,
            "finished_at": None,
            "expires_at": None if expires_in_s is None else now(seconds=expires_in_s),
            "attempt": 0,
            "progress": {"step": 0, "steps": None},
            "queue": {"position": 0, "eta_s": None},
            "request": understood(body),
            "result": None,
            "error": None,
            "batch": batch,
            "retried_from": retried_from,
            "metadata": dict(body.get("metadata") or {}),
        }
        self.all[job_id] = job
        self._note(job)
        return job

    def look(self, job_id: str) -> Json:
        """A job; one that is not held has ended by the time that somebody looks again."""
        job = found(self.all, "job", job_id)
        if not self.are_held and job["status"] not in FINAL:
            self.finish(job_id)
        return job

    def start(self, job_id: str) -> Json:
        """It runs."""
        job = found(self.all, "job", job_id)
        job.update(status="running", started_at=now(), attempt=job["attempt"] + 1, queue=None)
        self._note(job)
        return job

    def finish(
        self, job_id: str, status: str = "succeeded", code: str = "engine_failed", message: str = ""
    ) -> Json:
        """It ends."""
        job = found(self.all, "job", job_id)
        if job["status"] in FINAL:
            return job
        if job["status"] == "queued" and status in ("succeeded", "failed"):
            self.start(job_id)
        job.update(status=status, finished_at=now(), queue=None)
        if status == "succeeded":
            job["result"] = self._result(job)
            for candidate in job["result"]["candidates"]:
                self._tell(job, "candidate", candidate)
        if status == "failed":
            said = message or f"The fake was told to fail it ({code})."
            job["error"] = {"code": code, "message": said, "retryable": False}
        self._note(job)
        data = {name: value for name, value in self.show(job).items() if name != "request"}
        self._webhooks.announce(f"job.{status}", data, job["request"]["webhook"])
        return job

    def cancel(self, job_id: str) -> Json:
        return self.finish(found(self.all, "job", job_id)["id"], "canceled")

    def retry(self, job_id: str) -> Json:
        old = self.look(job_id)
        if old["status"] not in FINAL:
            raise Refusal("job_not_final", f"{job_id} is {old['status']}.")
        body = {name: value for name, value in old["request"].items() if value is not None}
        return self.submit({**body, "metadata": old["metadata"]}, retried_from=job_id)

    def delete(self, job_id: str) -> Json:
        job = self.look(job_id)
        if job["status"] not in FINAL:
            raise Refusal("job_not_final", f"{job_id} is {job['status']}; cancel it first.")
        keys = [key for key in self._store.objects if key.startswith(f"results/{job_id}/")]
        size_bytes = sum(len(self._store.objects.pop(key)) for key in keys)
        del self.all[job_id]
        return deleted(job_id, len(keys), size_bytes, self._webhooks.forget(job_id))

    def show(self, job: Json) -> Json:
        """With URLs of its pictures."""
        if job["result"] is None:
            return job
        candidates = [
            {**each, "url": self._store.link(f"results/{job['id']}/{each['index']}")}
            for each in job["result"]["candidates"]
        ]
        return {**job, "result": {**job["result"], "candidates": candidates}}

    def _result(self, job: Json) -> Json:
        """Each candidate is the very picture that was sent: a fake moves nothing."""
        image = self._images.all[job["request"]["image"]]
        options = job["request"]["options"]
        data = self._store.objects[f"images/{image['id']}"]
        candidates = []
        for index in range(options["candidates"]):
            self._store.objects[f"results/{job['id']}/{index}"] = data
            size = {"width": image["width"], "height": image["height"]}
            seed = options["seed"] + index
            candidates.append({"index": index, "seed": seed, "sha256": image["sha256"], **size})
        names = ("queued_ms", "fetch_ms", "run_ms", "store_ms", "total_ms")
        return {
            "candidates": candidates,
            "engine": job["request"]["engine"],
            "model_digest": "fake",
            "cached": False,
            "warnings": [],
            "mask_url": None,
            "expires_at": now(days=30),
            "timings": dict.fromkeys(names, 0.0),
        }

    def _note(self, job: Json) -> None:
        self._tell(job, "status", {"status": job["status"], "at": now(), "error": job["error"]})

    def _tell(self, job: Json, kind: str, data: Json) -> None:
        events = self._history.setdefault(job["id"], [])
        same = {"job": job["id"], "attempt": job["attempt"]}
        events.append((f"{len(events) + 1}.0", kind, {**same, **data}))

    def events_after(self, job_id: str, last_id: str | None) -> list[tuple[str, str, Json]]:
        """All of them, or those after one."""
        job = self.look(job_id)
        events = [
            (event_id, kind, self._with_url(job, kind, data))
            for event_id, kind, data in self._history[job_id]
        ]
        seen = [event_id for event_id, _, _ in events]
        return events[seen.index(last_id) + 1 :] if last_id in seen else events

    def _with_url(self, job: Json, kind: str, data: Json) -> Json:
        if kind != "candidate":
            return data
        return {**data, "url": self._store.link(f"results/{job['id']}/{data['index']}")}


def understood(body: Json) -> Json:
    """The request with its defaults filled in."""
    options: Json = {
        "cache": True,
        "candidates": 1,
        "format": "png",
        "output": "composite",
        "quality": "full",
        "seed": secrets.randbelow(2**53),
        "strict": False,
    }
    options |= {name: v for name, v in (body.get("options") or {}).items() if v is not None}
    webhook = body.get("webhook")
    request = {
        "image": body["image"],
        "mask": body.get("mask"),
        "engine": body.get("engine") or ENGINE,
        "options": options,
        "priority": body.get("priority") or "normal",
        "expires_in_s": body.get("expires_in_s"),
        "timeout_s": body.get("timeout_s") or 300,
        "webhook": {"events": ["*"], **webhook} if webhook else None,
    }
    shape = "drags" if body.get("drags") is not None else "rounds"
    return {**request, shape: body[shape]}

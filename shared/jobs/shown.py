"""A job as the JSON of the contract, for answers and for webhooks.

URLs of its pictures are signed at the moment of showing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.objects import content_type_of
from shared.rounds import expected_steps
from shared.times import rfc3339, rfc3339_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.jobs.job import Job
    from shared.objects import ClientUrls


@dataclass(frozen=True, slots=True)
class Links:
    """URLs of objects that are good for `ttl_s` seconds from now."""

    urls: ClientUrls
    ttl_s: int

    def to(self, key: str, content_type: str | None = None) -> str:
        """The URL of an object; its type is known by its key, if it is not said."""
        return self.urls.download(key, self.ttl_s, content_type or content_type_of(key))


def show_job(job: Job, links: Links, queue: dict[str, Any] | None = None) -> dict[str, Any]:
    """The job; `queue` is its place, while it waits."""
    return {
        "id": job.id,
        "status": job.status.value,
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339_or_none(job.started_at),
        "finished_at": rfc3339_or_none(job.finished_at),
        "expires_at": rfc3339_or_none(job.expires_at),
        "attempt": job.attempt,
        "progress": {"step": job.step, "steps": job.steps or expected_steps(job.spec)},
        "queue": queue,
        "request": job.spec.to_json(),
        "result": _result(job, links),
        "error": job.error,
        "batch": job.batch_id,
        "retried_from": job.retried_from,
        "metadata": dict(job.metadata),
    }


def _result(job: Job, links: Links) -> dict[str, Any] | None:
    if job.result is None:
        return None
    result = dict(job.result)
    mask_key = result.pop("mask_key")
    is_gone = job.pictures_gone_at is not None
    return {
        **result,
        "candidates": [
            show_candidate(candidate, links, is_gone=is_gone) for candidate in result["candidates"]
        ],
        "mask_url": links.to(mask_key) if mask_key and not is_gone else None,
        "expires_at": rfc3339_or_none(job.retain_until),
    }


def show_candidate(candidate: Mapping[str, Any], links: Links, *, is_gone: bool) -> dict[str, Any]:
    """One picture of a result, with a URL in the place of its key while it is there."""
    shown = {name: value for name, value in candidate.items() if name != "key"}
    return {**shown, "url": None if is_gone else links.to(candidate["key"])}

"""Rows as the JSON of the contract. URLs are signed at the moment of the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from api.context import Context
from shared.jobs.state import JobState
from shared.objects import content_type_of
from shared.rounds import expected_steps

if TYPE_CHECKING:
    from shared.images.store import Image
    from shared.jobs.forecast import Pace
    from shared.jobs.job import Job


def rfc3339(milliseconds: int) -> str:
    """`2026-11-23T04:05:06.789Z`."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339(milliseconds)


def render_image(image: Image, at: Context) -> dict[str, Any]:
    """An image whose bytes are here."""
    return {
        "id": image.id,
        "width": image.width,
        "height": image.height,
        "content_type": image.content_type,
        "size_bytes": image.size_bytes,
        "sha256": image.sha256,
        "created_at": rfc3339(image.created_at),
        "expires_at": rfc3339(image.expires_at),
        "url": _url(image.object_key or "", image.content_type, at),
    }


def render_jobs(jobs: list[Job], at: Context) -> list[dict[str, Any]]:
    """Jobs of one account."""
    queues = _queues([job for job in jobs if job.status is JobState.QUEUED], at)
    return [_render_job(job, queues.get(job.id), at) for job in jobs]


def render_new_job(job: Job, at: Context) -> dict[str, Any]:
    """One job, just submitted."""
    pace = at.services.forecasts.pace(job.spec.engine)
    return _render_job(job, _queue(at.services.forecasts.place(job), pace), at)


def render_job(job: Job, at: Context) -> dict[str, Any]:
    """One job."""
    return render_jobs([job], at)[0]


def _render_job(job: Job, queue: dict[str, Any] | None, at: Context) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status.value,
        "created_at": rfc3339(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
        "expires_at": _time(job.expires_at),
        "attempt": job.attempt,
        "progress": {"step": job.step, "steps": job.steps or expected_steps(job.spec)},
        "queue": queue,
        "request": job.spec.to_json(),
        "result": _result(job, at),
        "error": job.error,
        "batch": None,
        "retried_from": job.retried_from,
        "metadata": dict(job.metadata),
    }


def _result(job: Job, at: Context) -> dict[str, Any] | None:
    if job.result is None:
        return None
    result = dict(job.result)
    mask_key = result.pop("mask_key")
    is_gone = job.pictures_gone_at is not None
    candidates = [
        {
            **{k: v for k, v in candidate.items() if k != "key"},
            "url": None if is_gone else _url_of(candidate["key"], at),
        }
        for candidate in result["candidates"]
    ]
    return {
        **result,
        "candidates": candidates,
        "mask_url": _url_of(mask_key, at) if mask_key and not is_gone else None,
        "expires_at": _time(job.retain_until),
    }


def _url_of(key: str, at: Context) -> str:
    return _url(key, content_type_of(key), at)


def _url(key: str, content_type: str, at: Context) -> str:
    return at.urls.download(key, at.services.settings.url_ttl_s, content_type)


def _queues(queued: list[Job], at: Context) -> dict[str, dict[str, Any]]:
    """Place and ETA of queued jobs, by id."""
    queues: dict[str, dict[str, Any]] = {}
    for engine in {job.spec.engine for job in queued}:
        those = [job for job in queued if job.spec.engine == engine]
        places = at.services.jobs.places(those[0].account_id, engine, [job.id for job in those])
        pace = at.services.forecasts.pace(engine)
        queues |= {job_id: _queue(position, pace) for job_id, position in places.items()}
    return queues


def _queue(position: int, pace: Pace) -> dict[str, Any]:
    eta_s = pace.eta_s(position)
    return {"position": position, "eta_s": None if eta_s is None else round(eta_s, 1)}

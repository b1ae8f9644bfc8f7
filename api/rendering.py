"""Rows as the JSON of the contract. URLs are signed at the moment of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.context import Context
from shared.jobs.shown import Links, show_job
from shared.jobs.state import JobState
from shared.times import rfc3339

if TYPE_CHECKING:
    from shared.images.store import Image
    from shared.jobs.forecast import Pace
    from shared.jobs.job import Job


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
        "url": links_of(at).to(image.object_key or "", image.content_type),
    }


def render_jobs(jobs: list[Job], at: Context) -> list[dict[str, Any]]:
    """Jobs of one account."""
    queues = _queues([job for job in jobs if job.status is JobState.QUEUED], at)
    return [show_job(job, links_of(at), queues.get(job.id)) for job in jobs]


def render_new_job(job: Job, at: Context) -> dict[str, Any]:
    """One job, just submitted."""
    pace = at.services.forecasts.pace(job.spec.engine)
    return show_job(job, links_of(at), _queue(at.services.forecasts.place(job), pace))


def render_job(job: Job, at: Context) -> dict[str, Any]:
    """One job."""
    return render_jobs([job], at)[0]


def links_of(at: Context) -> Links:
    """URLs as this API gives them."""
    return Links(at.urls, at.services.settings.url_ttl_s)


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

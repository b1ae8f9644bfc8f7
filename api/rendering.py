"""Rows as the JSON of the contract. URLs are signed at the moment of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.context import Context
from shared.jobs.shown import Links, show_job
from shared.jobs.state import JobState
from shared.times import rfc3339

if TYPE_CHECKING:
    from shared.images.store import Image
    from shared.jobs.job import Job

GUESSED_RUN_MS = 1000.0  #: before anything was measured


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
        "url": _links(at).to(image.object_key or "", image.content_type),
    }


def render_jobs(jobs: list[Job], at: Context) -> list[dict[str, Any]]:
    """Jobs of one account."""
    queues = _queues([job for job in jobs if job.status is JobState.QUEUED], at)
    return [show_job(job, _links(at), queues.get(job.id)) for job in jobs]


def render_job(job: Job, at: Context) -> dict[str, Any]:
    """One job."""
    return render_jobs([job], at)[0]


def _links(at: Context) -> Links:
    return Links(at.urls, at.services.settings.url_ttl_s)


def _queues(queued: list[Job], at: Context) -> dict[str, dict[str, Any]]:
    """Place and ETA of queued jobs, by id."""
    queues: dict[str, dict[str, Any]] = {}
    for engine in {job.spec.engine for job in queued}:
        those = [job for job in queued if job.spec.engine == engine]
        places = at.services.jobs.places(those[0].account_id, engine, [job.id for job in those])
        pace = Pace.of(engine, at)
        for job_id, position in places.items():
            eta_s = round(pace.queue_s(position) + pace.run_s, 1) if pace.threads else None
            queues[job_id] = {"position": position, "eta_s": eta_s}
    return queues


class Pace:
    """How fast an engine works at present: seconds for one edit, and how many at once."""

    def __init__(self, run_s: float, threads: int) -> None:
        self.run_s = round(run_s, 3)
        self.threads = threads

    @classmethod
    def of(cls, engine: str, at: Context) -> Pace:
        """From the last runs, and the workers that are up."""
        runs_ms = at.services.jobs.recent_run_ms(engine)
        up = at.services.engines_up.all().get(engine)
        mean_ms = sum(runs_ms) / len(runs_ms) if runs_ms else GUESSED_RUN_MS
        return cls(mean_ms / 1000, up.threads if up else 0)

    def queue_s(self, position: int) -> float:
        """Seconds until a job with so many before it starts."""
        return round(position * self.run_s / max(self.threads, 1), 3)

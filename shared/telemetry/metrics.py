"""Every metric, declared once: names, labels, units (Prometheus; base units in the names).

What a process does itself is counted in it, and the processes of one API are added up when
somebody asks. What is in the database is read from it then (`shared/gauges.py`): every API
gives the same numbers, so take `max` over them, never `sum`. Each has its paragraph in
`docs/metrics.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Counter, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

HTTP_SECONDS = Histogram(
    "towline_http_request_seconds",
    "From the request's head to the first byte of its answer",
    ["method", "route", "status"],  # route: as it is written in the code; "" where none matches
    buckets=SECONDS,
)
JOB_MOVES = Counter(
    "towline_job_moves_total",
    "Changes of state that this process committed",
    ["engine", "move"],  # submit, claim, succeed, fail, cancel, expire, requeue
)
CACHE_LOOKUPS = Counter(
    "towline_cache_lookups_total",
    "Submissions for which an earlier result was looked for",
    ["engine", "outcome"],  # outcome: hit, miss
)
JOB_SECONDS = Histogram(
    "towline_job_phase_seconds",
    "Where the time of jobs that succeeded went",
    ["engine", "phase"],  # queued, fetch, run, store, total
    buckets=SECONDS,
)
JOB_ATTEMPTS = Histogram(
    "towline_job_attempts",
    "Attempts of jobs that succeeded",
    ["engine"],
    buckets=(1, 2, 3, 5, 10),
)
LEASES_LOST = Counter(
    "towline_leases_lost_total",
    "Leases that ran out, as the sweep found them",
    ["engine"],
)
ETA_ERROR = Histogram(
    "towline_eta_error_seconds",
    "How far off the forecast at submission was from the end of a job that succeeded",
    ["engine", "direction"],  # direction: early, late
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
BATCH_ROWS = Histogram(
    "towline_batch_rows",
    "Candidates that went through the model together",
    ["engine"],
    buckets=(1, 2, 4, 8, 16, 32),
)
BATCH_SECONDS = Histogram(
    "towline_batch_seconds",
    "How long the engine was busy with one batch",
    ["engine"],
    buckets=SECONDS,
)
WEBHOOK_TRIES = Counter(
    "towline_webhook_tries_total",
    "Messages that were sent, or could not be",
    ["outcome"],  # delivered, refused
)
WEBHOOK_SECONDS = Histogram(
    "towline_webhook_delivery_seconds",
    "From an event to the answer of a receiver that took it",
    buckets=(0.05, 0.1, 0.5, 1, 5, 30, 300, 3600, 21600, 86400),
)
BATCH_ENDS = Counter(
    "towline_batches_total",
    "Batches that ended, by how",
    ["status"],  # completed, canceled, rejected
)
LIMITER_UNCHECKED = Counter(
    "towline_limiter_unchecked_total",
    "Requests that passed without being counted, since Redis did not answer",
)


@dataclass(frozen=True, slots=True)
class FromDatabase:
    """A gauge whose value is asked of the database."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


QUEUED_JOBS = FromDatabase(
    "towline_queue_jobs", "Jobs that wait to be claimed", ("engine", "priority")
)
QUEUE_AGE = FromDatabase(
    "towline_queue_oldest_seconds", "Age of the oldest of them", ("engine", "priority")
)
RUNNING_JOBS = FromDatabase("towline_running_jobs", "Jobs that a worker holds", ("engine",))
WORKERS_UP = FromDatabase(
    "towline_workers", "Workers that said lately that they are up", ("engine",)
)
OPEN_BATCHES = FromDatabase("towline_batches_open", "Batches that have not ended", ("status",))
BATCH_ITEMS = FromDatabase(
    "towline_batch_items_waiting", "Items of batches that are no jobs yet", ("status",)
)
DUE_DELIVERIES = FromDatabase(
    "towline_webhook_deliveries_due", "Webhooks whose next try is due, and was not made"
)
DELIVERY_AGE = FromDatabase(
    "towline_webhook_oldest_due_seconds", "For how long the oldest of them has been due"
)
DATABASE_UP = FromDatabase("towline_database_up", "Whether the database answered: 1, or 0")


def observe_success(engine: str, attempts: int, timings: Mapping[str, float]) -> None:
    """A job succeeded; `timings` are its phases in milliseconds, as `run_ms`."""
    JOB_ATTEMPTS.labels(engine).observe(attempts)
    for name, took_ms in timings.items():
        JOB_SECONDS.labels(engine, name.removesuffix("_ms")).observe(took_ms / 1000)


def observe_eta_error(engine: str, late_s: float) -> None:
    """A job ended so many seconds after its forecast; before it, if that is negative."""
    ETA_ERROR.labels(engine, "late" if late_s > 0 else "early").observe(abs(late_s))

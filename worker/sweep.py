"""The sweep: puts right what died half-way. Every few seconds, safe to run twice at once.

Each step stands alone: one that fails is logged, and the next sweep tries it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from shared.errors import StorageUnavailable, TowlineError
from shared.objects import staging_key
from shared.telemetry.metrics import LEASES_LOST

if TYPE_CHECKING:
    from shared.jobs.job import Job
    from shared.services import Services

log = structlog.get_logger()


_housekeeping = threading.Lock()


def sweep(services: Services, must_stop: Callable[[], bool] = lambda: False) -> None:
    """Take back, expire, fail, top up; then forget, unless a sweep of this process is at it.

    Forgetting may wait for a slow storage: that must not keep every thread from the rest.
    `must_stop` is asked before each step.
    """
    _run(URGENT, services, must_stop)
    if _housekeeping.acquire(blocking=False):
        try:
            _run(HOUSEKEEPING, services, must_stop)
        finally:
            _housekeeping.release()


def _run(steps: tuple[Step, ...], services: Services, must_stop: Callable[[], bool]) -> None:
    for step in steps:
        if must_stop():
            return
        try:
            step(services)
        except TowlineError as error:
            log.warning("sweep_step_failed", step=step.__name__, error=error.message)
        except Exception:  # one row that nobody can read must not stop the rest
            log.exception("sweep_step_failed", step=step.__name__)


def take_back_expired_leases(services: Services) -> None:
    """Jobs whose worker went silent go back to the queue, or into quarantine."""
    lost = services.upkeep.take_back_expired_leases()
    for job in lost:
        LEASES_LOST.labels(job.spec.engine).inc()
    _tell("lease_expired", lost)


def expire_waiting(services: Services) -> None:
    """Jobs that nobody started before their `expires_at` end."""
    _tell("job_expired", services.upkeep.expire_waiting())


def fail_overdue(services: Services) -> None:
    """Jobs that wait again after their `timeout_s` fail."""
    _tell("job_timed_out", services.upkeep.fail_overdue())


def top_up_wakeups(services: Services) -> None:
    """Where more jobs wait than messages, the missing ones are sent."""
    for engine, due in services.upkeep.due_by_engine(services.settings.wakeup_window).items():
        services.wakeups.top_up(engine, due)


def top_up_deliveries(services: Services) -> None:
    """Where webhooks are due, somebody is told to send them."""
    if services.webhooks.upkeep.is_anything_due():
        services.wakeups.send_deliverer()


def give_up_deliveries(services: Services) -> None:
    """Webhooks that could not be delivered for five days have failed."""
    services.webhooks.upkeep.give_up_stale()


def tend_batches(services: Services) -> None:
    """Batches that end together with no last item; those that want to be tended."""
    for batch in services.batch_upkeep.finish():
        log.info("batch_ended", batch=batch.id, status=batch.status.value)
    if services.batch_upkeep.is_anything_wanted():
        services.wakeups.send_tender()


def shorten_lines(services: Services) -> None:
    """Accounts that have nothing queued leave the heads of the lines."""
    services.upkeep.shorten_lines()


def remove_old_results(services: Services) -> None:
    """Pictures past their retention: the row says so first, so that no URL leads to nothing.

    What cannot be deleted now is an orphan, and holds up nobody.
    """
    for job in services.upkeep.results_past_retention():
        if not services.upkeep.say_that_pictures_are_gone(job):
            continue  # another job points to them
        try:
            for key in job.object_keys:
                services.objects.delete(key)
        except StorageUnavailable as error:
            log.warning("pictures_left", job=job.id, error=error.message)


def forget_old_jobs(services: Services) -> None:
    """Jobs past their retention, which is never before that of their pictures."""
    for job in services.upkeep.jobs_past_retention():
        services.upkeep.forget(job)


def forget_old_batches(services: Services) -> None:
    """What was read of batches, what was rejected, and batches past the retention of jobs."""
    for batch in services.batch_upkeep.streams_that_were_read():
        try:
            services.objects.delete(batch.object_key or "")
        except StorageUnavailable as error:
            log.warning("stream_left", batch=batch.id, error=error.message)
        else:
            services.batch_upkeep.forget_stream(batch)
    services.batch_upkeep.forget_items()
    services.batch_upkeep.forget_old()


def forget_old_images(services: Services) -> None:
    """Images past their time that no active job needs: the row first, so that no job can start."""
    for image in services.images.forget_expired():
        services.objects.delete(image.object_key or staging_key(image.account_id, image.id))


def forget_old_keys(services: Services) -> None:
    """Idempotency keys whose day is over."""
    services.idempotency.forget_old()


def collect_orphans(services: Services) -> None:
    """A slice of the storage: what no row points to goes, once it is old."""
    services.orphans.collect()


def forget_records(services: Services) -> None:
    """Entries of the audit log past their retention; accounts that are long gone."""
    services.audit_log.forget_old()
    services.account_deletion.forget_old()


def forget_old_deliveries(services: Services) -> None:
    """The log of webhooks past its retention, a slice at a time."""
    services.webhooks.upkeep.forget_old()


def forget_dead_workers(services: Services) -> None:
    """Workers that ended without a word."""
    services.engines_up.forget_dead()


Step = Callable[["Services"], None]

URGENT: tuple[Step, ...] = (
    take_back_expired_leases,
    expire_waiting,
    fail_overdue,
    top_up_wakeups,
    top_up_deliveries,
    give_up_deliveries,
    tend_batches,
    shorten_lines,
    forget_dead_workers,
)
HOUSEKEEPING: tuple[Step, ...] = (
    remove_old_results,
    forget_old_jobs,
    forget_old_batches,
    forget_old_images,
    forget_old_keys,
    forget_old_deliveries,
    collect_orphans,
    forget_records,
)


def _tell(event: str, jobs: list[Job]) -> None:
    for job in jobs:
        log.info(event, job=job.id, status=job.status.value, attempt=job.attempt)

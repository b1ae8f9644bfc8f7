"""One job, from claim to outcome. Read this file first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from shared.errors import EngineFailed, TimedOut, TowlineError
from shared.jobs.cache_keys import cache_key
from shared.telemetry.metrics import observe_eta_error, observe_success
from shared.telemetry.tracing import span, this_span
from worker.engines.base import EngineBroken
from worker.outcome import write_down
from worker.pictures import Clock, discard_result, load_edit, store_result
from worker.watch import CancelAsked, DeadlinePassed, Heart, Lease, Stopped, WorkerDrains

if TYPE_CHECKING:
    from shared.jobs.job import Job
    from shared.services import Services
    from shared.telemetry.tracing import Span
    from worker.claims import Claims
    from worker.engines.base import Engine
    from worker.solo import Solo

log = structlog.get_logger()

BROKEN = 70  #: exit status of a process whose engine can run nothing any more (EX_SOFTWARE)


@dataclass(frozen=True, slots=True)
class Workplace:
    """What one worker process has: the services, its engines, its heart, its claims."""

    services: Services
    engines: Mapping[str, Engine]
    heart: Heart
    solo: Solo
    claims: Claims


def run_next_job(engine: str, at: Workplace) -> bool:
    """Bring the next job of an engine to a final state, or put it back in the queue.

    False when there was none: the wake-up was one too many.
    """
    with at.solo.claimed(lambda: claim(engine, at)) as job:
        if job is not None:
            run(job, at)
    return job is not None


def claim(engine: str, at: Workplace) -> Job | None:
    """The next job of an engine; none for a process that is going away."""
    if at.heart.is_draining:
        return None
    return at.claims.next(engine)


def run(job: Job, at: Workplace) -> None:
    """Bring a job that was claimed to a final state, or put it back in the queue."""
    with (
        structlog.contextvars.bound_contextvars(job=job.id, attempt=job.attempt),
        traced(job),
        at.heart.keep(job) as lease,
    ):
        log.info("job_claimed", engine=job.spec.engine)
        try:
            at.solo.wait_for_room(job, lease.check)
            result = make_result(job, lease, at)
        except Stopped as stop:
            settle(job, stop, lease, at.services)
        except TowlineError as error:
            log.warning("job_error", code=error.code, error=error.message)
            this_span().fail(error.code)
            write_down(lease, at.services.leases.fail_or_requeue, job, error)
        except EngineBroken as error:  # a new process takes the job back, as one that lost a worker
            log.critical("engine_broken", error=str(error))
            os._exit(BROKEN)
        except Exception as error:  # nobody foresaw it: final at once, with its trace in the log
            log.exception("engine_failed")
            this_span().fail(EngineFailed.code)
            write_down(lease, at.services.leases.fail, job, EngineFailed.from_unforeseen(error))
        else:
            succeed(job, result, lease, at.services)


def traced(job: Job) -> AbstractContextManager[Span]:
    """What is done of this attempt from now on is a part of the job's trace."""
    return span(
        "job attempt",
        kind="consumer",
        parent=job.trace_context,
        age_s=job.since_claim_s or 0.0,
        job_id=job.id,
        attempt=job.attempt,
        losses=job.losses,
        account_id=job.account_id,
        engine=job.spec.engine,
        candidates=job.spec.options["candidates"],
        queued_ms=(job.claimed_at or job.created_at) - job.created_at,
    )


def make_result(job: Job, lease: Lease, at: Workplace) -> dict[str, Any]:
    """Fetch, run, store: the job's result, whose pictures are in object storage."""
    lease.check()
    clock = Clock()
    engine = at.engines[job.spec.engine]
    with clock.step("fetch"):
        edit, contents = load_edit(job, at.services)
    lease.check()
    with clock.step("run"):
        outcome = engine.run(edit, lease)
    lease.check()
    with clock.step("store"):
        result = store_result(job, edit, outcome, at.services)
    maker = at.services.maker(engine.model_digest)
    key = cache_key(job.account_id, job.spec, contents, maker)
    made = {"model_digest": engine.model_digest, "cache_key": key, "timings": clock.laps}
    return {**result, **made}


def succeed(job: Job, result: dict[str, Any], lease: Lease, services: Services) -> None:
    """Record the result; if the job is another attempt's by now, this one's pictures go."""
    if write_down(lease, services.leases.succeed, job, result, lease.steps):
        log.info("job_succeeded", **result["timings"])
        queued_ms = (job.claimed_at or job.created_at) - job.created_at
        observe_success(job.spec.engine, job.attempt, {"queued_ms": queued_ms, **result["timings"]})
        if (late_s := job.late_s) is not None:
            observe_eta_error(job.spec.engine, late_s)
    else:
        log.warning("lease_lost", stored=len(result["candidates"]))
        this_span().fail("lease_lost")
        discard_result(result, services)


def settle(job: Job, stop: Stopped, lease: Lease, services: Services) -> None:
    """Record why the run was stopped; a lost lease leaves nothing to record."""
    log.info("job_stopped", reason=type(stop).__name__)
    this_span().note(stopped=type(stop).__name__)
    match stop:
        case CancelAsked():
            write_down(lease, services.leases.cancel, job)
        case DeadlinePassed():
            write_down(lease, services.leases.fail, job, TimedOut(f"The job was stopped: {stop}."))
        case WorkerDrains():
            write_down(lease, services.leases.give_back, job)

"""`/v1/jobs`: submit, look, wait, cancel, retry, delete, and ask what a submission would meet."""

from __future__ import annotations

from typing import Any

import structlog
from flask import request
from flask_openapi3 import APIBlueprint, Tag

from api.context import account_id, caller, context, services
from api.idempotency import completion, idempotent, json_digest, no_digest
from api.openapi import PREFER, operation_id, problems
from api.problems import violation_to_json
from api.removal import remove_objects
from api.rendering import links_of, render_job, render_jobs, render_new_job
from api.schemas.base import DeletedOut
from api.schemas.jobs import JobOut, JobPath, JobsOut, JobsQuery, ValidationOut
from api.waiting import wanted_wait_s
from shared.errors import DatabaseUnavailable, InvalidRequest, JobNotFinal, Violation
from shared.ids import is_id
from shared.jobs.job import Job
from shared.jobs.shown import show_job
from shared.jobs.state import JobState
from shared.objects import results_prefix
from shared.submission.body import JobBody
from shared.submission.json_text import json_pointer
from shared.submission.understand import Submission, understand

log = structlog.get_logger()

jobs = APIBlueprint(
    "jobs", __name__, url_prefix="/v1/jobs", abp_tags=[Tag(name="jobs")],
    abp_security=[{"key": []}], operation_id_callback=operation_id,
)  # fmt: skip


def _job_again(job_id: str, status: int) -> Any:
    return _accepted(services().jobs.get(account_id(), job_id), status, is_new=False)


@jobs.post(
    "",
    responses={200: JobOut, 202: JobOut, **problems(413, 415, 422, 503)},
    openapi_extensions=PREFER,
)
@idempotent(replay=_job_again, digest=json_digest)
def submit_job(body: JobBody) -> Any:
    """Submit an edit: 202; with `Prefer: wait=N`, 200 if it ends within N seconds."""
    submission = understand(body, account_id(), context().surroundings)
    if submission.violations:
        raise InvalidRequest(submission.violations)
    job = services().jobs.submit(
        account_id(),
        submission.spec,
        body.metadata,
        completion=completion(202),
        limits=caller().limits,
        contents=submission.contents,
    )
    answer = _accepted(job, 202)
    _note_forecast(job, answer[0])
    return answer


@jobs.post("/validate", responses={200: ValidationOut, **problems(413, 415, 503)})
def validate_job(body: JobBody) -> Any:
    """Say all that is wrong with a submission, and how long it would take. Stores nothing."""
    submission = understand(body, account_id(), context().surroundings, is_promised=False)
    canvas = estimate = None
    if submission.engine is not None:
        engine, priority = submission.engine.name, submission.spec.priority
        pace = services().forecasts.pace(engine)
        place = services().jobs.next_place(account_id(), engine, priority)
        estimate = {"queue_s": round(pace.queue_s(place), 3), "run_s": round(pace.run_s, 3)}
        if _is_answered(submission):
            estimate = dict.fromkeys(estimate, 0.0)
        if submission.picture is not None:
            size = (submission.picture.width or 0, submission.picture.height or 0)
            canvas = dict(zip(("width", "height"), submission.engine.canvas(*size), strict=True))
    return {
        "valid": not submission.violations,
        "problems": [violation_to_json(violation) for violation in submission.violations],
        "canvas": canvas,
        "estimate": estimate,
    }


def _is_answered(submission: Submission) -> bool:
    """Whether an earlier result would answer it, so that nothing would run."""
    if submission.violations or submission.contents is None:
        return False
    return services().jobs.is_answered(account_id(), submission.spec, submission.contents)


@jobs.get("", responses={200: JobsOut, **problems(422, 503)})
def list_jobs(query: JobsQuery) -> Any:
    """The account's jobs, newest first.

    `?metadata.KEY=VALUE`, for any key and as often as you like, leaves those with that pair.
    """
    if query.cursor is not None and not is_id("job", query.cursor):
        raise InvalidRequest(
            [Violation("/cursor", "wrong_format", "use the `next_cursor` of the page before")]
        )
    if query.batch is not None and not is_id("bat", query.batch):
        raise InvalidRequest([Violation("/batch", "wrong_format", "expected the id of a batch")])
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise InvalidRequest(
            Violation(json_pointer([name]), "conflicting_fields", "give it once")
            for name in repeated
        )
    found = services().jobs.page(
        account_id(),
        limit=query.limit + 1,
        before=query.cursor,
        status=JobState(query.status) if query.status else None,
        batch=query.batch,
        metadata=query.metadata,
    )
    page = found[: query.limit]
    next_cursor = page[-1].id if len(found) > query.limit else None
    return {"data": render_jobs(page, context()), "next_cursor": next_cursor}


@jobs.get("/<job:job_id>", responses={200: JobOut, **problems(404, 503)}, openapi_extensions=PREFER)
def get_job(path: JobPath) -> Any:
    """A job; with `Prefer: wait=N` as soon as it has ended, or after N seconds as it is."""
    job, headers = _waited(services().jobs.get(account_id(), path.job_id))
    return render_job(job, context()), 200, headers


@jobs.post("/<job:job_id>/cancel", responses={200: JobOut, **problems(404, 503)})
def cancel_job(path: JobPath) -> Any:
    """Cancel a job, however often. A running one stops between two steps."""
    return render_job(services().jobs.cancel(account_id(), path.job_id), context())


def _retry_again(job_id: str, status: int) -> Any:
    return _retried(services().jobs.get(account_id(), job_id), status)


@jobs.post("/<job:job_id>/retry", responses={202: JobOut, **problems(404, 409, 422, 503)})
@idempotent(replay=_retry_again, digest=no_digest)
def retry_job(path: JobPath) -> Any:
    """Submit the same edit again, as a new job with `retried_from` set."""
    old = services().jobs.get(account_id(), path.job_id)
    if not old.status.is_final:
        raise JobNotFinal(f"{old.id} is {old.status}; there is nothing to retry yet.")
    if old.spec.engine not in services().settings.engines:
        detail = f"{old.spec.engine} is not configured here any more"
        raise InvalidRequest([Violation("/engine", "engine_unavailable", detail)])
    job = services().jobs.submit(
        account_id(),
        old.spec,
        old.metadata,
        retried_from=old.id,
        completion=completion(202),
        limits=caller().limits,
    )
    return _retried(job, 202)


@jobs.delete("/<job:job_id>", responses={200: DeletedOut, **problems(404, 409, 503)})
def delete_job(path: JobPath) -> Any:
    """Delete a job that has ended, its pictures, and its webhook deliveries; what went is said.

    Deliveries that were not sent yet are not sent any more.
    """
    gone = services().jobs.delete(account_id(), path.job_id)
    prefix = None
    if gone.freed.has_pictures:
        prefix = results_prefix(gone.job.account_id, gone.job.origin_id or gone.job.id)
    return remove_objects(gone.job.id, prefix, gone.freed.size_bytes, gone.deliveries)


def _accepted(
    job: Job, status: int, *, is_new: bool = True
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """200 for a job that was waited for and has ended."""
    _name_in_log(job)
    _wake(job)
    headers: dict[str, str] = {}
    try:
        job, headers = _waited(job)
        is_queued_now = is_new and not headers and not job.status.is_final
        render = render_new_job if is_queued_now else render_job
        answer = render(job, context())
    except DatabaseUnavailable as error:  # the job is promised: 503 would have it sent twice
        log.warning("queue_not_told", error=error.message)
        answer = show_job(job, links_of(context()))
    status = 200 if headers and job.status.is_final else status
    return answer, status, {**headers, **_location(job)}


def _note_forecast(job: Job, answer: dict[str, Any]) -> None:
    """What the caller was told is compared later with what happened."""
    eta_s = (answer["queue"] or {}).get("eta_s")
    if eta_s is None:
        return
    try:
        services().forecasts.note(job.spec.engine, job.id, job.created_at + round(1000 * eta_s))
    except DatabaseUnavailable as error:  # the job is promised: its answer must not fail for this
        log.warning("forecast_not_noted", error=error.message)


def _retried(job: Job, status: int) -> Any:
    _name_in_log(job)
    _wake(job)
    try:
        answer = render_job(job, context())
    except DatabaseUnavailable as error:  # promised, as above
        log.warning("queue_not_told", error=error.message)
        answer = show_job(job, links_of(context()))
    return answer, status, _location(job)


def _name_in_log(job: Job) -> None:
    """Where a request's id and a job's are looked up by each other."""
    structlog.contextvars.bind_contextvars(job=job.id)


def _wake(job: Job) -> None:
    """Somebody for it; again when its submission is repeated, since the first may have died."""
    if job.status is JobState.QUEUED:
        services().wakeups.send_soon(job.spec.engine)


def _waited(job: Job) -> tuple[Job, dict[str, str]]:
    """The job once the wait that the request prefers is over, and what to say of it."""
    seconds = wanted_wait_s(request.headers.get("Prefer"))
    if seconds is None:
        return job, {}
    if not job.status.is_final:
        context().watcher.wait(job.id, seconds)
        job = services().jobs.get(job.account_id, job.id)
    return job, {"Preference-Applied": f"wait={seconds:.0f}"}


def _location(job: Job) -> dict[str, str]:
    return {"Location": f"/v1/jobs/{job.id}"}

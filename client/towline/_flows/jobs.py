"""Jobs: submit, look, wait, follow, fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from towline._core.calling import call, model
from towline._core.context import Ask, Context, address, id_of, posting
from towline._failures import APIError, JobNotSucceeded
from towline._flows import things
from towline._flows.pages import given, pages
from towline._flows.transfers import download_by, fetch
from towline.models import Candidate, Deleted, Job, Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from towline._core.effects import Flow, Items

T = TypeVar("T")


def create(
    context: Context,
    body: Mapping[str, Any],
    *,
    wait_s: float | None,
    key: str | None,
    timeout_s: float | None,
) -> Flow[Job]:
    """A new job."""
    ask = posting(address("jobs"), dict(body), key=key, wait_s=wait_s, timeout_s=timeout_s)
    return (yield from call(context, ask, model(Job)))


def validate(
    context: Context, body: Mapping[str, Any], *, timeout_s: float | None
) -> Flow[Validation]:
    """What a submission would meet."""
    path = address("jobs", "validate")
    ask = posting(path, dict(body), is_keyed=False, timeout_s=timeout_s)
    return (yield from call(context, ask, model(Validation)))


def get(context: Context, job: Any, *, wait_s: float | None, timeout_s: float | None) -> Flow[Job]:
    """A job."""
    return (yield from things.get(context, "jobs", job, Job, wait_s=wait_s, timeout_s=timeout_s))


def wait(context: Context, job: Any, *, timeout_s: float | None) -> Flow[Job]:
    """A job that has ended."""
    return (yield from things.wait(context, "jobs", job, Job, timeout_s=timeout_s))


def cancel(context: Context, job: Any, *, timeout_s: float | None) -> Flow[Job]:
    """It as it is then."""
    return (yield from things.act(context, "jobs", job, "cancel", Job, timeout_s=timeout_s))


def retry(context: Context, job: Any, *, key: str | None, timeout_s: float | None) -> Flow[Job]:
    """The new one."""
    ask = posting(address("jobs", job, "retry"), key=key, timeout_s=timeout_s)
    return (yield from call(context, ask, model(Job)))


def delete(context: Context, job: Any, *, timeout_s: float | None) -> Flow[Deleted]:
    """What went."""
    return (yield from things.delete(context, "jobs", job, timeout_s=timeout_s))


def list_all(
    context: Context,
    *,
    status: str | None,
    batch: Any,
    metadata: Mapping[str, str] | None,
    page_size: int,
) -> Items[Job]:
    """The account's jobs."""
    query = given(status=status, batch=None if batch is None else id_of(batch))
    query += [(f"metadata.{name}", value) for name, value in (metadata or {}).items()]
    yield from pages(context, address("jobs"), Job, query, page_size)


def download(
    context: Context, job: Any, to: Path, *, candidate: int, timeout_s: float | None
) -> Flow[Path]:
    """The picture of a job, as a file."""
    deadline = context.transfer_deadline(timeout_s)

    def use(url: str, sha256: str) -> Flow[Path]:
        return download_by(context, url, to, sha256, deadline)

    return (yield from _with_fresh_url(context, job, candidate, deadline, use))


def picture(context: Context, job: Any, *, candidate: int, timeout_s: float | None) -> Flow[bytes]:
    """The picture of a job."""
    deadline = context.transfer_deadline(timeout_s)

    def use(url: str, sha256: str) -> Flow[bytes]:
        return fetch(context, url, sha256, deadline)

    return (yield from _with_fresh_url(context, job, candidate, deadline, use))


def _with_fresh_url(
    context: Context,
    job: Any,
    candidate: int,
    deadline: float,
    use: Callable[[str, str], Flow[T]],
) -> Flow[T]:
    """What comes of a candidate's URL; of another one, if the time of the first was over."""
    ask = Ask(method="GET", path=address("jobs", job), deadline=deadline)
    if isinstance(job, Job) and job.is_final:
        try:
            url, sha256 = _place_of(job, candidate)
            return (yield from use(url, sha256))
        except APIError as error:
            if error.status != 403:
                raise
    fresh = yield from call(context, ask, model(Job))
    url, sha256 = _place_of(fresh, candidate)
    return (yield from use(url, sha256))


def _place_of(job: Job, index: int) -> tuple[str, str]:
    """Where a picture of a job is, and its sha256."""
    job.raise_for_status()
    if job.result is None:
        said = f"{job.id} is {job.status}, so it has no picture yet."
        raise JobNotSucceeded(said, job=job, code=job.status)
    found: list[Candidate] = [each for each in job.result.candidates if each.index == index]
    if not found:
        raise IndexError(f"{job.id} has {len(job.result.candidates)} candidates, and no {index}")
    if found[0].url is None:
        said = f"The pictures of {job.id} are past their retention, and gone."
        raise JobNotSucceeded(said, job=job, code="result_expired")
    return found[0].url, found[0].sha256

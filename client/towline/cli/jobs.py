"""`towline jobs`, `job`, `cancel`, `retry`: jobs that are there."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click

from towline import Job, Towline
from towline.cli.failures import FAILED, hint_for
from towline.cli.parameters import LABEL
from towline.cli.pictures import save
from towline.cli.session import Session, common, pass_session
from towline.cli.terminal import Terminal
from towline.cli.watching import watch
from towline.models import JobStatus

OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--status", type=click.Choice(get_args(JobStatus)), help="Those alone.")
@click.option("--batch", metavar="ID", help="Those of a batch alone.")
@click.option("--metadata", type=LABEL, multiple=True, help="Those with this pair alone.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True)
@common
@pass_session
def jobs(
    session: Session,
    status: JobStatus | None,
    batch: str | None,
    metadata: tuple[tuple[str, str], ...],
    limit: int,
) -> None:
    """List jobs, newest first."""
    with session.client() as client:
        found = islice(
            client.jobs.list(
                status=status, batch=batch, metadata=dict(metadata), page_size=min(limit, 200)
            ),
            limit,
        )
        if session.terminal.is_json:
            for each in found:
                session.terminal.json(each.raw)
            return
        session.terminal.table(
            ("JOB", "STATUS", "CREATED", "ENGINE", "WHAT"), [_row(each) for each in found]
        )


def _row(job: Job) -> tuple[str, ...]:
    told = job.error.code if job.error else _progress(job)
    return job.id, job.status, ago(job.created_at), str(job.request.get("engine", "")), told


def _progress(job: Job) -> str:
    if job.status == "running" and job.progress.steps:
        return f"step {job.progress.step} of {job.progress.steps}"
    if job.queue is not None:
        return f"{job.queue.position} before it"
    return ""


def ago(at: datetime) -> str:
    """`3 min ago`."""
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--wait", "-w", is_flag=True, help="Wait for its end.")
@click.option("--output", "-o", type=OUTPUT, help="Wait, and save its picture here.")
@common
@pass_session
def job(session: Session, job_id: str, wait: bool, output: Path | None) -> int:
    """Show a job."""
    with session.client() as client:
        found = client.jobs.get(job_id)
        return conclude(session, client, found, output, wait=wait or output is not None)


@click.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@common
@pass_session
def cancel(session: Session, job_ids: tuple[str, ...]) -> None:
    """Cancel jobs. What has ended stays as it is."""
    with session.client() as client:
        for job_id in job_ids:
            found = client.jobs.cancel(job_id)
            if session.terminal.is_json:
                session.terminal.json(found.raw)
            elif found.is_final:
                session.terminal.out(f"{found.id}\t{found.status}")
            else:
                session.terminal.out(f"{found.id}\t{found.status}, stops at its next step")


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--wait", "-w", is_flag=True, help="Wait for its end.")
@click.option("--output", "-o", type=OUTPUT, help="Wait, and save its picture here.")
@common
@pass_session
def retry(session: Session, job_id: str, wait: bool, output: Path | None) -> int:
    """Run a job that has ended once more, as a new one."""
    with session.client() as client:
        found = client.jobs.retry(job_id)
        session.terminal.note(f"{found.id} is {job_id} once more")
        return conclude(session, client, found, output, wait=wait or output is not None)


def conclude(
    session: Session, client: Towline, job: Job, output: Path | None, *, wait: bool
) -> int:
    """Wait if that is wanted, save, and tell; the exit code."""
    if wait:
        job = watch(session.terminal, client, job)
    files: list[Path] = []
    if output is not None and job.status == "succeeded":
        files = save(client, job, output)
    tell(session.terminal, job, files)
    return FAILED if job.is_final and job.status != "succeeded" else 0


def tell(terminal: Terminal, job: Job, files: list[Path]) -> None:
    """How a job is, or what it came to."""
    if terminal.is_json:
        terminal.json({**job.raw, "files": [str(file) for file in files]})
        return
    for name, value in _facts(job):
        terminal.out(f"{name:<10} {value}")
    for notice in job.result.warnings if job.result else ():
        terminal.out(f"{'warning':<10} {notice.detail} ({notice.code})")
    for file in files:
        terminal.out(f"{'file':<10} {file}")
    if job.error and hint_for(job.error.code):
        terminal.note(hint_for(job.error.code))


def _facts(job: Job) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [("job", job.id), ("status", job.status)]
    facts.append(("created", ago(job.created_at)))
    if job.queue is not None:
        eta = "" if job.queue.eta_s is None else f", about {job.queue.eta_s:.0f} s to go"
        facts.append(("queue", f"{job.queue.position} before it{eta}"))
    if job.status == "running" and job.progress.steps:
        facts.append(("progress", f"step {job.progress.step} of {job.progress.steps}"))
    if job.batch:
        facts.append(("batch", job.batch))
    if job.retried_from:
        facts.append(("retry of", job.retried_from))
    if job.error:
        facts.append(("error", f"{job.error.message} ({job.error.code})"))
    if job.result:
        facts.append(("engine", job.result.engine))
        took = "from an earlier result" if job.result.cached else _seconds(job)
        facts.append(("took", took))
        facts += [
            ("picture", f"{each.width} x {each.height}, seed {each.seed}")
            for each in job.result.candidates
        ]
    return facts


def _seconds(job: Job) -> str:
    assert job.result is not None  # noqa: S101 - whoever asks has looked
    timings = job.result.timings
    return f"{timings.total_ms / 1000:.2f} s, {timings.run_ms / 1000:.2f} s of it the run"

"""A job, watched until its end: a bar for a terminal, a line for each state elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from towline import Job, ProgressEvent, StatusEvent, Towline, errors
from towline.cli.terminal import Terminal, plain

if TYPE_CHECKING:
    from towline.models import JobEvent


class Shown(Protocol):
    """Where it is shown how far something is."""

    def say(self, text: str) -> None: ...
    def step(self, done: int, total: int | None) -> None: ...


class _Lines:
    """One line for each change."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._last = ""

    def say(self, text: str) -> None:
        if text != self._last:
            self._terminal.note(text)
        self._last = text

    def step(self, done: int, total: int | None) -> None:
        """Too much for a log."""


@contextmanager
def showing(terminal: Terminal) -> Iterator[Shown]:
    """A bar that is gone afterwards, or lines."""
    if not terminal.is_live:
        yield _Lines(terminal)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[steps]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=terminal.console(), transient=True) as progress:
        task = progress.add_task("", total=None, steps="")

        class _Bar:
            def say(self, text: str) -> None:
                progress.update(task, description=plain(text))

            def step(self, done: int, total: int | None) -> None:
                steps = f"{done}/{total}" if total else ""
                progress.update(task, completed=done, total=total, steps=steps)

        yield _Bar()


def watch(terminal: Terminal, client: Towline, job: Job, shown: Shown | None = None) -> Job:
    """The job once it has ended."""
    if job.is_final:
        return job
    if shown is None:
        with showing(terminal) as shown:
            return watch(terminal, client, job, shown)
    shown.say(_waiting(job))
    try:
        for event in client.jobs.events(job):
            _show(shown, event, job)
    except errors.TooManyStreams:
        pass  # then without steps
    return client.jobs.wait(job, timeout=None)


def _waiting(job: Job) -> str:
    if job.queue is None:
        return f"{job.id} {job.status}"
    eta = "" if job.queue.eta_s is None else f", about {job.queue.eta_s:.0f} s"
    return f"{job.id} queued, {job.queue.position} before it{eta}"


def _show(shown: Shown, event: JobEvent, job: Job) -> None:
    if isinstance(event, ProgressEvent):
        shown.step(event.step, event.steps)
    elif isinstance(event, StatusEvent) and event.status != "queued":
        again = f", attempt {event.attempt}" if event.attempt > 1 else ""
        shown.say(f"{job.id} {event.status}{again}")
    elif isinstance(event, StatusEvent) and event.attempt:
        shown.say(f"{job.id} queued again: its worker was lost, or must end")

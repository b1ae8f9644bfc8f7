"""One bar for a terminal, with rate, time to go and failures; a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from towline.cli.terminal import Terminal, plain

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY_S = 15.0
TEXT_WIDTH = 64  #: what stands beside the bar has room, and `^C` behind it


class Shown:
    """What is shown of a run; nothing is decided by it."""

    def __init__(self) -> None:
        self.failed = 0
        self.here = 0
        self._what, self._total, self._done = "", 0, 0
        self._trouble = ""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Something else is done from now on."""
        self._what, self._total, self._done = what, total, done
        self._begun()

    def advance(self, count: int = 1) -> None:
        """So many more."""
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """So many in all."""
        self._done = min(max(done, self._done), self._total)
        self._changed()

    def ended(self, status: str) -> None:
        """A line has ended, and is here."""
        self.here += 1
        self.failed += status != "succeeded"
        self._changed()

    def trouble(self, text: str) -> None:
        """What goes wrong at the moment; empty if nothing does."""
        if text != self._trouble:
            self._trouble = text
            self._changed()

    def _begun(self) -> None: ...
    def _changed(self) -> None: ...

    @property
    def _aside(self) -> str:
        if self._trouble:
            return self._trouble
        return f"{self.failed:,} failed" if self.failed else ""


class Bar(Shown):
    """For a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        super().__init__()
        self._progress, self._task = progress, task

    def _begun(self) -> None:
        self._progress.reset(self._task, total=self._total or None, completed=self._done)
        self._changed()

    def _changed(self) -> None:
        style = "red" if self._trouble or self.failed else ""
        self._progress.update(
            self._task, description=self._what, completed=self._done, aside=plain(self._aside),
            style=style,
            trouble=bool(self._trouble),
        )  # fmt: skip


class Log(Shown):
    """For a file, or for nobody."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal
        self._began_at = self._told_at = time.monotonic()
        self._began_with = 0
        self._told_trouble = ""

    def _begun(self) -> None:
        self._began_at, self._told_at = time.monotonic(), 0.0
        self._began_with = self._done
        self._changed()

    def _changed(self) -> None:
        now = time.monotonic()
        is_new = self._trouble != self._told_trouble
        if now - self._told_at < EVERY_S and not is_new:
            return
        self._told_trouble = self._trouble
        self._told_at = now
        self._terminal.note(self._line(now))

    def _line(self, now: float) -> str:
        if not self._total:
            return self._what
        parts = [f"{self._what} {self._done:,} of {self._total:,}"]
        rate = (self._done - self._began_with) / max(now - self._began_at, 1e-9)
        if self._done > self._began_with:
            left = (self._total - self._done) / rate
            parts += [f"{rate:.1f}/s", f"{duration(left)} to go"]
        if self._aside:
            parts.append(self._aside)
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """`1:02:03`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def showing(terminal: Terminal) -> Iterator[Shown]:
    """A bar that is gone afterwards, or lines."""
    if not terminal.is_live:
        yield Log(terminal)
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        """Of the last half minute, and how long it takes at that."""

        def render(self, task: Any) -> Text:
            if not task.speed or task.total is None or task.fields["trouble"]:
                return Text("")
            left_s = task.remaining / task.speed
            return Text(f"{task.speed:,.1f}/s, {duration(left_s)} to go")

    class Count(ProgressColumn):
        """How many of how many."""

        def render(self, task: Any) -> Text:
            if task.total is None:
                return Text("")
            return Text(f"{task.completed:,.0f} of {task.total:,.0f}")

    class Aside(ProgressColumn):
        """What is not as it should be."""

        def render(self, task: Any) -> Text:
            return Text(task.fields["aside"], style=task.fields["style"], no_wrap=True)

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=max(8, min(36, terminal.console().width - TEXT_WIDTH))),
        Count(),
        Speed(),
        Aside(),
    )
    with Progress(
        *columns, console=terminal.console(), transient=True,
        speed_estimate_period=30.0,
    ) as progress:  # fmt: skip
        yield Bar(
            progress,
            progress.add_task("asking the service", total=None, aside="", style="", trouble=False),
        )

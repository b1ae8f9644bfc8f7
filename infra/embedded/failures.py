"""Why the embedded service could not start, or its sample did not come out right.

EmbeddedFailure            one line for the terminal; maybe a log worth showing
├── CannotStart            the machine or the settings: port, folder, lock
├── StepFailed             a process ended, kept ending, or took too long
└── SampleFailed           the sample edit was refused, lost, or is wrong
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TAIL_LINES = 25
TAIL_BYTES = 16_384


class EmbeddedFailure(Exception):
    """Ends the start with one clear line, and the end of `log` where there is one."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class CannotStart(EmbeddedFailure):
    """The machine or the settings do not allow a start."""


class StepFailed(EmbeddedFailure):
    """A process that is needed ended, kept ending, or took too long."""


class SampleFailed(EmbeddedFailure):
    """The sample edit was refused, did not end, or its picture is wrong."""


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log; nothing when it cannot be read."""
    try:
        with log.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(max(0, size_bytes - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []

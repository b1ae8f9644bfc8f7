"""What the supervisor says on the terminal: short lines, no colours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from infra.embedded.failures import tail

if TYPE_CHECKING:
    from infra.embedded.failures import EmbeddedFailure


def say(text: str) -> None:
    """One line (or a few) for whoever watches."""
    _write(sys.stdout, f"towline: {text}\n")


def shown(path: Path) -> str:
    """A path as short as it can be from where the user stands."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def show(page: str) -> None:
    """A block of lines, as it is."""
    _write(sys.stdout, f"\n{page}\n\n")


def complain(failure: EmbeddedFailure) -> None:
    """One clear line on stderr, with the end of the log that tells more."""
    lines = [f"towline: {failure}"]
    if failure.log is not None:
        lines += [f"  | {line}" for line in tail(failure.log)]
        lines += [f"  the whole log: {failure.log}"]
    _write(sys.stderr, "\n".join(lines) + "\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:  # the terminal is gone, the service is not: go on in silence
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

"""Which process is which: a pid alone is not enough, since the kernel gives it out again.

A process is known by its pid and the moment it was started (with the boot's id, since
that moment is counted from the boot). Linux tells it in `/proc`; elsewhere `ps` is asked.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")
HAS_PROC = Path("/proc/self/stat").exists()
ZOMBIE = "Z"


@dataclass(frozen=True)
class Process:
    """A process as the kernel knows it."""

    pid: int
    started: str
    group: int

    def is_alive(self) -> bool:
        """Whether this very process, not a later one with its pid, still runs."""
        found = find(self.pid)
        return found is not None and found.started == self.started

    def signal(self, number: int) -> None:
        """Send a signal to this very process; nothing happens when it is gone."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def has_in_environment(self, variable: str) -> bool:
        """Whether it was started with `NAME=value`; False where nobody can tell."""
        try:
            return variable.encode() in (PROC / str(self.pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


def find(pid: int) -> Process | None:
    """The running process with this pid; a zombie does not run."""
    if HAS_PROC:
        return _read_stat(pid)
    return next((each for each in _ask_ps("-p", str(pid))), None)


def group_members(group: int) -> list[Process]:
    """Every running process of a process group."""
    everybody = map(_read_stat, _pids()) if HAS_PROC else _ask_ps("-ax")
    return [each for each in everybody if each is not None and each.group == group]


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _read_stat(pid: int) -> Process | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # "pid (name) state ppid pgrp ... starttime": the name may hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    state, group, ticks = fields[0], int(fields[2]), fields[19]
    if state == ZOMBIE:
        return None
    return Process(pid, f"{_boot()}:{ticks}", group)


@cache
def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "boot"


def _ask_ps(*which: str) -> Iterator[Process]:
    command = ["ps", *which, "-o", "pid=,pgid=,stat=,lstart="]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listing.splitlines():
        pid, group, state, *started = line.split()
        if not state.startswith(ZOMBIE):
            yield Process(int(pid), "_".join(started), int(group))

"""Ends what an earlier run left behind when it was killed before it could clean up.

Each child has `run/NAME.pid` with its pid and the moment of its start, and leads a
process group of its own. A process is ended only when both match; members of a group
whose leader is dead (gunicorn's workers) only when they were started for this home.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from infra.embedded.home import write_atomically
from infra.embedded.identity import Process, find, group_members

if TYPE_CHECKING:
    from pathlib import Path

GRACE_S = 3.0
KILL_S = 2.0


def remember(pid_file: Path, pid: int) -> None:
    """Write down who was started; nothing when it is gone already."""
    process = find(pid)
    if process is not None:
        write_atomically(pid_file, f"{process.pid} {process.started}\n".encode())


def reap(run_folder: Path, home: Path) -> list[str]:
    """End every leftover; their names. SIGTERM, a short grace, SIGKILL."""
    names: list[str] = []
    leftovers: list[Process] = []
    for pid_file in sorted(run_folder.glob("*.pid")):
        members = _leftovers_of(pid_file, home)
        if members:
            names.append(pid_file.stem)
            leftovers += members
    _signal_and_wait(leftovers, signal.SIGTERM, GRACE_S)
    _signal_and_wait(leftovers, signal.SIGKILL, KILL_S)
    for pid_file in run_folder.glob("*.pid"):
        pid_file.unlink(missing_ok=True)
    return names


def _leftovers_of(pid_file: Path, home: Path) -> list[Process]:
    """Who still runs of the group that this file names; nobody when it makes no sense."""
    try:
        text, started = pid_file.read_text().split()
        pid = int(text)
    except ValueError:
        return []
    leader = find(pid)
    if leader is None:  # the kernel keeps a pid for as long as its group has members
        mark = f"TOWLINE_HOME={home}"
        return [each for each in group_members(pid) if each.has_in_environment(mark)]
    if leader.started != started or leader.group != pid:
        return []
    return group_members(pid)


def _signal_and_wait(processes: list[Process], number: int, limit_s: float) -> None:
    for process in processes:
        process.signal(number)
    deadline = time.monotonic() + limit_s
    while any(each.is_alive() for each in processes) and time.monotonic() < deadline:
        time.sleep(0.05)

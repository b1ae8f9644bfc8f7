"""A process and all that it started, as Linux tells of them."""

from __future__ import annotations

from pathlib import Path


def family(pid: int) -> list[int]:
    """The process, then its children, grandchildren, ..., as far as they live."""
    found = [pid]
    for member in found:
        for tasks in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:  # it ended meanwhile
                continue
    return found


def is_alive(pid: int) -> bool:
    """Whether it still holds anything; one that has ended and is not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"

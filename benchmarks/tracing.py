"""`python -m benchmarks.tracing`: what traces cost a submission; off, on, and a tenth of them.

The same load on the API of each kind in turn, on PostgreSQL; `--before DIR` is a checkout of
another commit, which takes turns with them. The collector is a process that reads and says 200.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

from benchmarks.queue import preamble
from benchmarks.queue_load import post
from benchmarks.queue_place import Place, Stoppable, an_owner, place
from benchmarks.queue_submissions import SIZE_PX, Run, body_of
from tests import crew
from tests.broker import free_port

OUT = Path("benchmarks/results/tracing.md")
FOUND = "\n## What was found\n"


class Sink(BaseHTTPRequestHandler):
    """Takes everything and looks at nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def take(port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), Sink).serve_forever()


@contextmanager
def a_collector() -> Iterator[str]:
    """Its URL."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=take, args=(port,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{port}"
    process.kill()


@contextmanager
def serving(
    at: Place, processes: int, variables: Mapping[str, str], where: Path
) -> Iterator[tuple[int, Stoppable]]:
    with ExitStack() as ends:
        with patch.dict(os.environ, variables), patch.object(crew, "REPOSITORY", where):
            served = ends.enter_context(at.serving("api", processes=processes))
        yield served


def table(at: Place, asked: argparse.Namespace, collector: str) -> Iterator[str]:
    owner = an_owner(at.services, "submits", width=SIZE_PX[0], height=SIZE_PX[1])
    request = post("/v1/jobs", body_of(owner), f"Authorization: Bearer {owner.key}")
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    tenth = {**on, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    here = crew.REPOSITORY
    kinds: dict[str, tuple[dict[str, str], Path]] = {
        "off": ({}, here), "a tenth": (tenth, here), "on": (on, here)
    }  # fmt: skip
    if asked.before:
        kinds = {"before": ({}, asked.before.resolve()), **kinds}
    yield "| processes | traces | a second | of off | answer, median ms | 99 of 100 | CPU: API |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for processes in asked.processes:
        runs: dict[str, list[Run]] = {name: [] for name in kinds}
        with ExitStack() as ends:
            servers = {
                name: ends.enter_context(serving(at, processes, *kind))
                for name, kind in kinds.items()
            }
            for turn in range(asked.repeats + 1):
                order = list(kinds)[turn % len(kinds) :] + list(kinds)[: turn % len(kinds)]
                for name in order:  # another one begins each turn
                    port, member = servers[name]
                    runs[name].append(Run(at, asked, member, port, request))
        for name, those in runs.items():
            rows = list(zip(those, runs["off"], strict=True))[1:]  # the first turn warms up
            ratio = statistics.median(run.rate / off.rate for run, off in rows)
            middle = [
                statistics.median(getattr(run, what) for run, _ in rows)
                for what in ("rate", "median_ms", "late_ms", "api_ms")
            ]
            yield (
                f"| {processes} | {name} | {middle[0]:.0f} | {ratio:.0%} | {middle[1]:.1f} "
                f"| {middle[2]:.1f} | {middle[3]:.1f} |"
            )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="of the API")
    parser.add_argument("--submissions", type=int, default=400, help="in one turn")
    parser.add_argument("--clients", type=int, default=8, help="connections, kept open")
    asked = parser.parse_args(arguments)
    with place() as at, a_collector() as collector:
        lines = ["# Traces", "", *_how(at, asked), ""]
        for line in table(at, asked, collector):
            print(line, flush=True)
            lines.append(line)
    _, heading, said = (OUT.read_text() if OUT.exists() else "").partition(FOUND)
    OUT.write_text("\n".join(lines) + "\n" + heading + said)


def _how(at: Place, asked: argparse.Namespace) -> list[str]:
    measured = preamble([], at)[4:7]
    turns = f"--repeats {asked.repeats} --submissions {asked.submissions}"
    return [
        f"    python -m benchmarks.tracing --before DIR {turns}",
        "",
        *measured,
        f"{asked.clients} connections that are kept open, {asked.submissions} submissions a turn;",
        f"{asked.repeats} turns, in which the kinds alternate;",
        "`of off` is the median of the turns' ratios, CPU is milliseconds for each submission, its",
        "spans' sending included. All share the machine. `before`: the commit before traces.",
    ]


if __name__ == "__main__":
    main(sys.argv[1:])

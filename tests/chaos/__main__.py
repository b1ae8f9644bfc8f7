"""`make chaos`: everything real, killed at will, and judged by an oracle apart.

python -m tests.chaos                                  about two minutes
python -m tests.chaos --jobs 10000 --report docs/chaos-report.md
python -m tests.chaos --kills 60                       nothing but `kill -9` of workers
python -m tests.chaos --expect-violations unfenced     with a bug planted: can it be found?
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos import plans
from tests.chaos.bugs import BUGS
from tests.chaos.report import report, summary
from tests.chaos.run import Plan, Result, run
from tests.chaos.servers import running_servers
from tests.servers.s3 import missing_programs


def main(arguments: list[str] | None = None) -> int:
    """0 if the oracle found nothing, or, with a bug planted, what it had to find."""
    chosen = _parse(arguments)
    if missing := missing_programs():
        print(f"chaos: {missing}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is put away
    plan = _plan(chosen)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="towline-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"chaos: seed {plan.seed}; logs, promises and faults are in {folder}", flush=True)
    with running_servers(folder) as servers:
        result = run(plan, servers, folder / "run")
    text = report(result, _command(plan, chosen))
    (folder / "report.md").write_text(text)
    if chosen.report:
        chosen.report.write_text(text)
    print(text)
    print(summary(result))
    return _status(result)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, help="how many; without it the short run")
    parser.add_argument("--kills", type=int, help="so many workers are killed, and nothing else")
    parser.add_argument("--seed", type=int, help="of jobs and faults; chosen by chance and printed")
    parser.add_argument("--expect-violations", choices=BUGS, metavar="BUG", help=", ".join(BUGS))
    parser.add_argument("--report", type=Path, help="where to write the report as well")
    parser.add_argument("--folder", type=Path, help="for logs; by default a new one")
    return parser.parse_args(arguments)


def _plan(chosen: argparse.Namespace) -> Plan:
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    if chosen.expect_violations:
        return plans.planted(chosen.expect_violations, seed)
    if chosen.kills:
        return plans.kills(seed, chosen.kills)
    return plans.long(seed, chosen.jobs) if chosen.jobs else plans.short(seed)


def _command(plan: Plan, chosen: argparse.Namespace) -> str:
    """What repeats it."""
    if plan.bug:
        return f'make chaos SEED={plan.seed} ARGS="--expect-violations {plan.bug}"'
    jobs = f" JOBS={chosen.jobs}" if chosen.jobs else ""
    kills = f' ARGS="--kills {chosen.kills}"' if chosen.kills else ""
    return f"make chaos{jobs} SEED={plan.seed}{kills}"


def _status(result: Result) -> int:
    bug = result.plan.bug
    if bug is None:
        return 1 if result.violations else 0
    found = {violation.kind for violation in result.violations} & BUGS[bug].found_as
    print(f"planted: {BUGS[bug].says}. Found as: {', '.join(sorted(found)) or 'nothing'}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.chaos.worker_main run --queues warp [--bug NAME]`: a worker, or beat, of chaos.

The product's own worker with the suite's engine; with `--bug`, with something planted in it.
"""

from __future__ import annotations

import argparse
import sys

from tests.chaos.bugs import BUGS
from tests.chaos.engine import load
from worker.__main__ import _services
from worker.app import run_worker


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--queues", required=True)
    parser.add_argument("--bug", choices=BUGS)
    chosen = parser.parse_args()
    services = _services()
    if chosen.bug:
        services = BUGS[chosen.bug].plant(services)
    return run_worker(services, chosen.queues.split(","), load)


if __name__ == "__main__":
    sys.exit(main())

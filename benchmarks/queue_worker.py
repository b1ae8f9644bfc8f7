"""`python -m benchmarks.queue_worker`: a worker as served, whose engine does nothing."""

from __future__ import annotations

import sys

from worker.__main__ import _services
from worker.app import run_worker
from worker.engines.base import Candidate, Edit, Outcome, Watch


class NoEngine:
    """The picture as it came."""

    model_digest = "none"

    def __init__(self, name: str, _: object) -> None:
        self.name = name

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        """Every job still has a picture that is stored, and a result that is recorded."""
        watch.step(1, 1)
        return Outcome(candidates=(Candidate(edit.picture_HWC, edit.seed),))


if __name__ == "__main__":
    sys.exit(run_worker(_services(), ["warp"], NoEngine))

"""An engine for tests: does what the job's options say, and dies when they say so."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from shared.errors import DragNotReachable, StorageUnavailable
from worker.engines.base import Candidate, Edit, EditWarning, EngineBroken, Outcome, Watch

LONGEST_S = 60.0


def freeze() -> None:
    """Stop this process. Sent to this very thread, so that it goes not one step further."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


class ActingEngine:
    """The picture as it came. `options["act"]` is a name below; `options["mark"]` a path.

    Whatever happens once leaves the mark, and does not happen where the mark is.
    """

    name = "warp"
    model_digest = "acting-1"

    def __init__(self, name: str = "warp", _: object = None) -> None:
        self.name = name

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        act = edit.options.get("act", "copy")
        mark = Path(edit.options.get("mark", "/nonexistent/mark"))
        getattr(self, f"_{act}")(mark, watch)
        watch.step(1, 1)
        return Outcome(
            candidates=tuple(
                Candidate(edit.picture_HWC, edit.seed + n) for n in range(edit.candidates)
            ),
            warnings=(EditWarning("acted", act),),
        )

    def _copy(self, mark: Path, watch: Watch) -> None:
        pass

    def _die_always(self, mark: Path, watch: Watch) -> None:
        mark.touch()
        time.sleep(0.2)  # long enough for a neighbour to be claimed
        os._exit(9)

    def _die_once(self, mark: Path, watch: Watch) -> None:
        if not mark.exists():
            mark.touch()
            os._exit(9)

    def _freeze_once(self, mark: Path, watch: Watch) -> None:
        """As a process that was swapped out, or whose machine slept."""
        if not mark.exists():
            mark.touch()
            freeze()

    def _wait_for_mark(self, mark: Path, watch: Watch) -> None:
        """Step by step until the mark is there; beside it, `.started` says that it began."""
        Path(f"{mark}.started").touch()
        limit_s = time.monotonic() + LONGEST_S
        while not mark.exists():
            assert time.monotonic() < limit_s
            watch.step(0, 1)
            time.sleep(0.01)

    def _hang(self, mark: Path, watch: Watch) -> None:
        """No step, and no end."""
        Path(f"{mark}.started").touch()
        time.sleep(LONGEST_S)

    def _refuse(self, mark: Path, watch: Watch) -> None:
        raise DragNotReachable("too far")

    def _lose_storage(self, mark: Path, watch: Watch) -> None:
        raise StorageUnavailable("away")

    def _lose_device_once(self, mark: Path, watch: Watch) -> None:
        if not mark.exists():
            mark.touch()
            raise EngineBroken("no device")

    def _break(self, mark: Path, watch: Watch) -> None:
        raise ZeroDivisionError("a secret of somebody's")

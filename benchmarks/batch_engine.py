"""`python -m benchmarks.batch_engine FOLDER SECONDS`: what the engine does alone, on one core.

Decodes the pictures of a folder in turn, warps and encodes each, as a worker does (and with its
heap), and nothing else; prints how many it made, and in how many seconds.
"""

from __future__ import annotations

import sys
import time
from itertools import cycle
from pathlib import Path

from benchmarks.batch_edits import DRAGS, MASK, OPTIONS, SEED
from shared.edits import drag_from_json, mask_from_json
from shared.imaging import decode, encode
from shared.masks import drawn
from shared.settings import Settings
from worker.engines.base import Edit
from worker.engines.registry import load_engine
from worker.memory import keep_freed_memory


class Nobody:
    """Watches over a run and never ends it."""

    def step(self, done: int, steps: int) -> None:
        """Nothing."""

    def check(self) -> None:
        """Nothing."""


def main(folder: Path, seconds: float) -> None:
    """Work until the time is over."""
    keep_freed_memory()
    engine = load_engine("warp", Settings())
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    rounds = (tuple(drag_from_json(drag) for drag in DRAGS),)
    made, begun = -1, time.monotonic()
    for data in cycle(pictures):
        picture = decode(data)
        mask_HW = drawn(mask_from_json(MASK), rounds, picture.width, picture.height)
        assert mask_HW is not None
        edit = Edit(picture.pixels_HWC, mask_HW, rounds, SEED, 1, OPTIONS)
        encode(engine.run(edit, Nobody()).candidates[0].picture_HWC, "png")
        made += 1
        if made == 0:  # the first pays for what is loaded late
            begun = time.monotonic()
        if time.monotonic() - begun >= seconds:
            break
    print(made, time.monotonic() - begun)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))

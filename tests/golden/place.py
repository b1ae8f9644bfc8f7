"""Where the recorded edits and the tiny checkpoints are. Needs no torch."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent / "data"
CHECKPOINTS = GOLDEN / "checkpoints"
CASES = GOLDEN / "cases"
EXTRA = GOLDEN / "extra"

"""Where the recorded edits and the tiny checkpoints are. Needs no torch."""

from __future__ import annotations

from pathlib import Path

_COMMITTED = Path(__file__).parent / "data"
_SHARED = Path(__file__).parents[3] / "shared" / "golden"

#: What the repository carries, else the folder beside it; one of them or none may be there.
GOLDEN = _COMMITTED if (_COMMITTED / "checkpoints").is_dir() else _SHARED
CHECKPOINTS = GOLDEN / "checkpoints"
CASES = GOLDEN / "cases"
IS_THERE = CHECKPOINTS.is_dir() and CASES.is_dir()

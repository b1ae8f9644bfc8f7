"""What a run was asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from towline.cli.batch.checks import Folder

MOST_LINES = 50_000
MOST_BYTES = 200 * 2**20
ROOM_BYTES = 2**20  #: left free: what is sent has ids where the manifest has names


@dataclass(frozen=True)
class Request:
    """manifest and pictures: None to go on with what is known of an earlier run."""

    manifest: Path | None
    pictures: Folder | None
    out: Path
    skips_invalid: bool = False
    overwrites: bool = False
    parallel: int = 8
    away_s: float = 300.0  #: how long a service that does not answer is waited for
    lines_per_batch: int = MOST_LINES

"""`python -m worker model check DIR`: can this folder be used, and what is it?

Keys and shapes are held against the networks, which have no memory; nothing is computed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.checkpoint import ModelFolderError
from worker.engines.lightningdrag.config import ModelConfig, SchedulerName


def check_folder(folder: Path, scheduler: SchedulerName) -> str:
    """The folder's digest; `ModelFolderError` names everything that is wrong with it."""
    return build_model(ModelConfig(folder, scheduler, device="meta")).digest


def main(folder: Path, scheduler: SchedulerName) -> int:
    """Say whether a folder is usable; the exit status."""
    try:
        digest = check_folder(folder, scheduler)
    except ModelFolderError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder} is usable with {scheduler}\nsha256 {digest}\n")
    return 0

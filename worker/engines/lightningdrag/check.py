"""`python -m worker.engines.lightningdrag.check DIR`: can this folder be used, and what is it?

Keys and shapes are held against the networks without reading a weight.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.checkpoint import ModelFolderError
from worker.engines.lightningdrag.config import ModelConfig, SchedulerName


def check_folder(folder: Path, scheduler: SchedulerName) -> str:
    """The folder's digest; `ModelFolderError` names everything that is wrong with it."""
    return build_model(ModelConfig(folder, scheduler, device="meta")).digest


def main(arguments: list[str] | None = None) -> int:
    """Say whether a folder is usable; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker.engines.lightningdrag.check")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scheduler", choices=("lcm", "ddim"), default="lcm")
    asked = parser.parse_args(arguments)
    try:
        digest = check_folder(asked.folder, asked.scheduler)
    except ModelFolderError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{asked.folder} is usable with {asked.scheduler}\nsha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

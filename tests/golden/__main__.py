"""`python -m tests.golden --checkpoints DIR --cases DIR`: are we equal to the authors' code?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from tests.golden.place import CASES, CHECKPOINTS
from tests.golden.report import compare


def main() -> int:
    """Print one row per case and stage, then `N passed, M failed`; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as it likes")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    passed = failed = 0
    for row in compare(asked.checkpoints, asked.cases, asked.dtype, asked.device):
        print(row, flush=True)
        passed, failed = passed + row.holds, failed + (not row.holds)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

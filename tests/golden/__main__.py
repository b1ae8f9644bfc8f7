"""`make golden CHECKPOINTS=DIR CASES=DIR`: are we equal to the authors' code?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from tests.golden.place import CASES, CHECKPOINTS
from tests.golden.recorded import RecordedError
from tests.golden.report import Row, compare
from worker.engines.lightningdrag.checkpoint import ModelFolderError


def main(arguments: list[str] | None = None) -> int:
    """Print one row per case and stage, then `N passed, M failed`; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch; one does for tiny models")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    try:
        failed = report(compare(asked.checkpoints, asked.cases, asked.dtype, asked.device))
    except RecordedError as error:
        print(f"golden: {error}", file=sys.stderr)
        return 2
    except ModelFolderError as error:
        first, *others = error.problems
        more = f" (and {len(others)} more: python -m worker model check)" if others else ""
        print(f"golden: {asked.checkpoints}: {first.strip()}{more}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def report(rows: Iterable[Row]) -> int:
    """Print the rows, and as the last line how many hold; how many do not."""
    passed = failed = 0
    for row in rows:
        print(row, flush=True)
        passed, failed = passed + row.holds, failed + (not row.holds)
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())

"""`python -m worker.evaluation run --engine warp --cases DIR --out DIR`.

Exit status: 0 if every case ran, 1 if one did not, 2 if there is nothing to run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and do what it says."""
    asked = _parser().parse_args(arguments)
    if asked.threads is not None:
        _limit_threads(asked.threads)
    return _run(asked)


def _run(asked: argparse.Namespace) -> int:
    from shared.settings import SettingsError, read_settings
    from worker.engines.base import EngineUnusable
    from worker.engines.registry import ENGINES, load_engine
    from worker.evaluation.cases import find_cases
    from worker.evaluation.evaluate import evaluate

    if asked.engine not in ENGINES:
        return _refuse(f"there is no engine called {asked.engine!r}; there is {', '.join(ENGINES)}")
    if not asked.cases.is_dir():
        return _refuse(f"{asked.cases} is not a folder")
    folders = find_cases(asked.cases)
    if not folders:
        return _refuse(f"{asked.cases} holds no case")
    options = {"quality": asked.quality}
    try:
        engine = load_engine(asked.engine, read_settings())
    except (EngineUnusable, SettingsError) as error:
        return _refuse(str(error))
    rows = evaluate(engine, folders, asked.out, asked.long_side, options)
    print(f"{sum(row.ok for row in rows)} of {len(rows)} cases ran; see {asked.out}")
    return 0 if all(row.ok for row in rows) else 1


def _refuse(why: str) -> int:
    print(f"worker.evaluation: {why}", file=sys.stderr)
    return 2


def _limit_threads(count: int) -> None:
    """NumPy's and SciPy's libraries read this when they are loaded, so nothing may be before."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)
    import cv2

    cv2.setNumThreads(count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.evaluation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run an engine over a folder of cases")
    run.add_argument("--engine", required=True)
    run.add_argument("--cases", type=Path, required=True, help="a folder of NN_name/ folders")
    run.add_argument("--out", type=Path, required=True, help="where results go")
    run.add_argument("--long-side", type=_positive, help="scale every case to this many pixels")
    run.add_argument("--quality", choices=("full", "preview"), default="full")
    run.add_argument("--threads", type=_positive, help="for OpenCV and the linear algebra")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())

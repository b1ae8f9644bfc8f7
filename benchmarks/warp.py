"""The warp engine against a thin-plate spline, on one core.

    python -m benchmarks.warp --cases DIR [--repeats 5] [--out benchmarks/results/warp.md]

Every case at its own size, at 512 and at 2048 pixels on the longer side, and the preview at 512.
Pictures are in memory; what is timed is the whole run, from the mask to the picture.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy

from benchmarks.warp_rival import run_spline
from worker.engines.base import Edit
from worker.engines.warp.engine import WarpEngine
from worker.evaluation.cases import find_cases, load_case
from worker.evaluation.evaluate import Unwatched
from worker.evaluation.measures import forget_peak_rss, peak_rss_mb

SETTINGS = (
    ("own size", None, "full"),
    ("512 on the longer side", 512, "full"),
    ("2048 on the longer side", 2048, "full"),
    ("512 on the longer side, preview", 512, "preview"),
)


@dataclass(frozen=True)
class Run:
    """median and fastest of the repeats, ms; the worst handle's error; the smallest Jacobian."""

    median_ms: float
    fastest_ms: float
    error_px: float
    min_jacobian: float
    peak_mb: float


def _commit() -> str:
    """Of the code that was measured."""
    asked = ["git", "describe", "--always", "--dirty"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def measure(run: Callable[[], tuple[float, float]], repeats: int) -> Run:
    """Run once to warm up, then `repeats` times."""
    forget_peak_rss()
    error_px, min_jacobian = run()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append((time.perf_counter() - begun) * 1e3)
    return Run(statistics.median(times), min(times), error_px, min_jacobian, peak_rss_mb())


def run_warp(edit: Edit) -> tuple[float, float]:
    """Warp one edit; the worst handle's error (px) and the smallest Jacobian."""
    measures = WarpEngine().run(edit, Unwatched()).measures
    return measures["target_error_px"], measures["min_jacobian"]


def compare(folder: Path, long_side: int | None, quality: str, repeats: int) -> list[str]:
    """One table: a row for each case, and one for them all."""
    rows, pairs = [], []
    for path in find_cases(folder):
        case = load_case(path, long_side)
        edit = Edit(case.picture_HWC, case.mask_HW, (case.drags,), options={"quality": quality})
        warp = measure(lambda edit=edit: run_warp(edit), repeats)
        spline = measure(lambda edit=edit: run_spline(edit), repeats)
        pairs.append((warp, spline))
        size = f"{case.picture_HWC.shape[1]} x {case.picture_HWC.shape[0]}"
        rows.append(_row(f"{case.name} ({size})", warp, spline))
        print(rows[-1], flush=True)
    return [*HEADER, *rows, _summary(pairs)]


HEADER = [
    "| case | warp ms (fastest) | spline ms (fastest) | ratio | residual px | Jacobian | peak MB |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]


def _row(name: str, warp: Run, spline: Run) -> str:
    return (
        f"| {name} | {warp.median_ms:.0f} ({warp.fastest_ms:.0f})"
        f" | {spline.median_ms:.0f} ({spline.fastest_ms:.0f})"
        f" | {warp.median_ms / spline.median_ms:.2f}"
        f" | {warp.error_px:.3f}, {spline.error_px:.3f}"
        f" | {warp.min_jacobian:.3f}, {spline.min_jacobian:.3f}"
        f" | {warp.peak_mb:.0f}, {spline.peak_mb:.0f} |"
    )


def _summary(pairs: list[tuple[Run, Run]]) -> str:
    warps, splines = zip(*pairs, strict=True)

    def mean(runs: tuple[Run, ...]) -> float:
        return statistics.mean(run.median_ms for run in runs)

    def slowest(runs: tuple[Run, ...]) -> float:
        return max(run.median_ms for run in runs)

    def folds(runs: tuple[Run, ...]) -> int:
        return sum(run.min_jacobian <= 0 for run in runs)

    return (
        f"| **all {len(pairs)}: mean (slowest)** | {mean(warps):.0f} ({slowest(warps):.0f})"
        f" | {mean(splines):.0f} ({slowest(splines):.0f}) | {mean(warps) / mean(splines):.2f}"
        f" | worst {max(r.error_px for r in warps):.3f}, {max(r.error_px for r in splines):.3f}"
        f" | folds in {folds(warps)}, {folds(splines)} cases"
        f" | {max(r.peak_mb for r in warps):.0f}, {max(r.peak_mb for r in splines):.0f} |"
    )


def _preamble(arguments: list[str], repeats: int) -> list[str]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return [
        "# The warp engine on one core, beside a thin-plate spline",
        "",
        f"    python -m benchmarks.warp {' '.join(arguments)}",
        "",
        f"{cpu}, {os.cpu_count()} cores, one used; the machine was shared with other work, so",
        f"times are the median (and the fastest) of {repeats} runs after one to warm up.",
        f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__},",
        f"OpenCV {cv2.__version__}, warp digest `{WarpEngine.model_digest}`, commit {_commit()}.",
        "",
        "Two numbers in a cell: warp, spline. The spline: `scipy.interpolate.RBFInterpolator`,",
        "thin-plate kernel, targets to handles, 160 fixed anchors on the outline, evaluated on",
        "blocks of at least 4 pixels, drawn like the engine's map. Residual: the worst handle's. A",
        "Jacobian of 0 or less is a fold. Peak memory is the whole process's, imports included.",
    ]


def main(arguments: list[str]) -> None:
    """Measure everything, print it, write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warp", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/warp.md"))
    asked = parser.parse_args(arguments)
    _use_one_core(arguments)
    lines = _preamble(arguments, asked.repeats)
    for title, long_side, quality in SETTINGS:
        print(f"\n{title}", flush=True)
        table = compare(asked.cases, long_side, quality, asked.repeats)
        print(table[-1], flush=True)
        lines += ["", f"## {title.capitalize()}", "", *table]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text("\n".join(lines) + "\n", "utf-8")


def _use_one_core(arguments: list[str]) -> None:
    """The linear algebra reads this when it is loaded, so the process starts itself once more."""
    cv2.setNumThreads(1)
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.warp", *arguments]
        os.execve(sys.executable, command, alone)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])

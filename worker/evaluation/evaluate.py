"""Run an engine over a folder of cases; write the results, a report and a sheet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import TowlineError
from shared.imaging import encode
from worker.engines.base import Edit, Engine, Outcome
from worker.evaluation.cases import BrokenCase, Case, load_case
from worker.evaluation.measures import (
    forget_peak_rss,
    outside_identical,
    peak_rss_mb,
    worst_patch,
)
from worker.evaluation.report import Failure, Finding, Row, line, write_report
from worker.evaluation.sheet import Panel, make_panel, make_sheet


class Unwatched:
    """A watch that lets everything run to its end."""

    def check(self) -> None:
        """Goes on."""

    def step(self, done: int, steps: int) -> None:
        """Nothing ends this run."""


def evaluate(
    engine: Engine,
    folders: list[Path],
    out: Path,
    long_side: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Row]:
    """One row for each folder; `out` gets `NN_name.png`, `report.json` and `sheet.png`."""
    out.mkdir(parents=True, exist_ok=True)
    rows, panels = [], []
    for folder in folders:
        row, panel = _evaluate_case(engine, folder, out, long_side, options or {})
        print(line(row), flush=True)
        rows.append(row)
        panels.append(panel)
    write_report(out / "report.json", engine.name, rows)
    make_sheet(panels).save(out / "sheet.png")
    return rows


def _evaluate_case(
    engine: Engine, folder: Path, out: Path, long_side: int | None, options: Mapping[str, Any]
) -> tuple[Row, Panel]:
    try:
        case = load_case(folder, long_side)
    except BrokenCase as error:
        row = Row(folder.name, ok=False, error=Failure("broken_case", str(error)))
        return row, Panel(line(row), ())
    row, result = _run(engine, case, options)
    if result is not None:
        (out / f"{case.name}.png").write_bytes(encode(result, "png"))
    return row, make_panel(case, result, line(row))


def _run(
    engine: Engine, case: Case, options: Mapping[str, Any]
) -> tuple[Row, NDArray[np.uint8] | None]:
    edit = Edit(case.picture_HWC, case.mask_HW, (case.drags,), options=options)
    forget_peak_rss()
    begun = time.perf_counter()
    try:
        outcome = engine.run(edit, Unwatched())
    except TowlineError as error:
        return Row(case.name, ok=False, error=Failure(error.code, error.message)), None
    except Exception as error:  # noqa: BLE001 - one case must not take the others with it
        return Row(case.name, ok=False, error=Failure("engine_failed", repr(error))), None
    ms, peak = (time.perf_counter() - begun) * 1e3, peak_rss_mb()
    return _row(case, outcome, ms, peak), outcome.candidates[0].picture_HWC


def _row(case: Case, outcome: Outcome, ms: float, peak_mb: float) -> Row:
    result = outcome.candidates[0].picture_HWC
    patch_error, patch_score = worst_patch(case, result)
    return Row(
        name=case.name,
        ok=True,
        ms=round(ms, 1),
        peak_rss_mb=round(peak_mb, 1),
        target_error_px=outcome.measures.get("target_error_px"),
        patch_error_px=patch_error,
        patch_score=patch_score,
        min_jacobian=outcome.measures.get("min_jacobian"),
        outside_identical=outside_identical(case, result),
        warnings=tuple(Finding(warning.code, warning.detail) for warning in outcome.warnings),
    )

"""What `report.json` says: one row for each case, whatever became of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """A warning or an error, as a client would get it."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case has no result."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Row:
    """One case. ms: the engine's run alone. Errors in px, of the worst handle; None if unknown."""

    name: str
    ok: bool
    ms: float | None = None
    peak_rss_mb: float | None = None
    target_error_px: float | None = None
    patch_error_px: float | None = None
    patch_score: float | None = None
    min_jacobian: float | None = None
    outside_identical: bool | None = None
    warnings: tuple[Finding, ...] = ()
    error: Failure | None = None


def write_report(path: Path, engine: str, rows: list[Row]) -> None:
    """Write `report.json`: `{"engine": ..., "cases": [...]}`."""
    report = {"engine": engine, "cases": [_plain(row) for row in rows]}
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", "utf-8")


def line(row: Row) -> str:
    """One row for people."""
    if row.error is not None:
        return f"{row.name:32} {row.error.code}: {row.error.message}"
    codes = " ".join(finding.code for finding in row.warnings)
    return (
        f"{row.name:32} {_number(row.ms, '.0f')} ms {_number(row.peak_rss_mb, '.0f')} MB"
        f"  target {_number(row.target_error_px, '.3f')} px"
        f"  patch {_number(row.patch_error_px, '.1f')} px {_number(row.patch_score, '.2f')}"
        f"  jacobian {_number(row.min_jacobian, '.3f')}"
        f"  outside {'same' if row.outside_identical else 'CHANGED'}  {codes}"
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _plain(row: Row) -> dict[str, object]:
    """JSON has no NaN: what is not a number is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(row).items()
    }

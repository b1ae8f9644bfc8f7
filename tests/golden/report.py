"""One row per case and stage: the largest deviation, the limit, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.golden.extras import run_extras
from tests.golden.limits import LIMITS, Limit
from tests.golden.recorded import Case, RecordedError, read_cases
from tests.golden.stages import Stage, run_case
from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.config import DtypeName, ModelConfig, SchedulerName
from worker.engines.lightningdrag.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Row:
    """The largest deviation of a stage under one measure."""

    case: str
    stage: str
    limit: Limit
    deviation: float

    @property
    def holds(self) -> bool:
        return self.deviation <= self.limit.at_most

    def __str__(self) -> str:
        said = "passed" if self.holds else "FAILED"
        measure = f"{self.limit.name:18} {self.deviation:9.2e} of {self.limit.at_most:8.1e}"
        return f"{self.case:42} {self.stage:22} {measure}  {said}"


def compare(
    checkpoints: Path, cases: Path, dtype: DtypeName = "float32", device: str = "cpu"
) -> Iterator[Row]:
    """The rows of every case of a folder, then those of the folder `extra` beside it."""
    pipelines: dict[SchedulerName, Pipeline] = {}
    if not checkpoints.is_dir():
        raise RecordedError(f"{checkpoints} is no folder")
    for case in read_cases(cases):
        if case.scheduler not in pipelines:
            config = ModelConfig(checkpoints, case.scheduler, device, dtype)
            pipelines[case.scheduler] = Pipeline(build_model(config))
        with _readable(case.name):
            rows = list(rows_of(pipelines[case.scheduler], case))
        yield from rows
    with _readable("extra"):
        rows = [
            row
            for name, stages in run_extras(cases.parent / "extra")
            for row in rows_of_stages(name, stages)
        ]
    yield from rows


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Input that nobody can run is said in one line; pytest shows where it went wrong."""
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise RecordedError(f"{name} cannot be run: {reason}") from error


def rows_of(pipeline: Pipeline, case: Case) -> Iterator[Row]:
    """The rows of one case."""
    yield from rows_of_stages(case.name, run_case(pipeline, case), pipeline.model.dtype)


def rows_of_stages(
    case: str, stages: Iterable[Stage], dtype: torch.dtype = torch.float32
) -> Iterator[Row]:
    """Of the stages of one name the largest deviation under each of its limits."""
    largest: dict[tuple[str, str], Row] = {}
    for stage in stages:
        for limit in LIMITS[dtype].get(stage.name, ()):
            fits = stage.found.shape == stage.wanted.shape
            deviation = limit.measure(stage.found, stage.wanted) if fits else math.inf
            row = Row(case, stage.name, limit, deviation)
            key = (stage.name, limit.name)
            largest[key] = max(largest.get(key, row), row, key=_by_deviation)
    yield from largest.values()


def _by_deviation(row: Row) -> tuple[bool, float]:
    """What is no number is worse than any."""
    return math.isnan(row.deviation), row.deviation

"""One row per case and stage: the largest deviation, the limit, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch

from tests.golden.extras import run_extras
from tests.golden.limits import LIMITS, Finding, Limit
from tests.golden.recorded import Case, RecordedError, read_cases
from tests.golden.stages import Stage, run_case
from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.config import DtypeName, ModelConfig, SchedulerName
from worker.engines.lightningdrag.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Row:
    """A stage of a case, under each measure that has a limit there."""

    case: str
    stage: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    def __str__(self) -> str:
        said = "passed" if self.holds else "FAILED"
        measures = ", ".join(map(str, self.findings))
        return f"{self.case:42} {self.stage:22} {measures:68} {said}"


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
    """One row for all stages of one name: the largest deviation under each of its limits."""
    worst: dict[str, dict[str, Finding]] = {}
    for stage in stages:
        for finding in findings_of(stage, LIMITS[dtype].get(stage.name, ())):
            of_stage = worst.setdefault(stage.name, {})
            before = of_stage.get(finding.measure, finding)
            of_stage[finding.measure] = max(before, finding, key=attrgetter("badness"))
    for name, findings in worst.items():
        yield Row(case, name, tuple(findings.values()))


def findings_of(stage: Stage, limits: Iterable[Limit]) -> Iterator[Finding]:
    """What each limit finds; another shape is beyond any."""
    for limit in limits:
        if stage.found.shape == stage.wanted.shape:
            yield limit(stage.found, stage.wanted)
        else:
            yield Finding("shape", math.inf, 0.0)

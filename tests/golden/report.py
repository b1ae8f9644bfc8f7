"""One row per case and stage: the largest deviation, the limit, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.golden.extras import run_extras
from tests.golden.limits import LIMITS, Limit
from tests.golden.recorded import Case, read_cases
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
    for case in read_cases(cases):
        if case.scheduler not in pipelines:
            config = ModelConfig(checkpoints, case.scheduler, device, dtype)
            pipelines[case.scheduler] = Pipeline(build_model(config))
        yield from rows_of(pipelines[case.scheduler], case)
    for name, stage in run_extras(cases.parent / "extra"):
        yield from rows_of_stages(name, [stage])


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
            row = Row(case, stage.name, limit, limit.measure(stage.found, stage.wanted))
            key = (stage.name, limit.name)
            if key not in largest or not row.deviation <= largest[key].deviation:
                largest[key] = row
    yield from largest.values()

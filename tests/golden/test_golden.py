"""Equal to the authors' recorded runs, stage by stage (section 6 of the golden README)."""

from __future__ import annotations

from functools import cache

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tests.golden.extras import run_extras
from tests.golden.limits import FINAL_LATENTS, FLOAT32
from tests.golden.place import CASES, CHECKPOINTS, EXTRA
from tests.golden.recorded import Case, read_cases
from tests.golden.report import rows_of, rows_of_stages
from tests.golden.stages import Stage, run_case
from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.config import DtypeName, ModelConfig, SchedulerName
from worker.engines.lightningdrag.pipeline import Pipeline

NAMES = [path.stem for path in sorted(CASES.glob("*.json"))]


@cache
def pipeline_of(scheduler: SchedulerName, dtype: DtypeName = "float32") -> Pipeline:
    return Pipeline(build_model(ModelConfig(CHECKPOINTS, scheduler, dtype=dtype)))


def case_named(name: str) -> Case:
    (case,) = read_cases(CASES, name)
    return case


@cache
def stages_of(name: str) -> tuple[Stage, ...]:
    case = case_named(name)
    return tuple(run_case(pipeline_of(case.scheduler), case))


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_is_the_authors_in_single_precision(name: str) -> None:
    rows = list(rows_of_stages(name, stages_of(name)))
    assert rows
    assert not [str(row) for row in rows if not row.holds]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_the_end_is_the_authors_in_half_precision(name: str, dtype: DtypeName) -> None:
    case = case_named(name)
    rows = list(rows_of(pipeline_of(case.scheduler, dtype), case))
    assert not [str(row) for row in rows if not row.holds]


def test_every_stage_that_has_a_limit_is_compared_by_some_case() -> None:
    compared = {stage.name for name in NAMES for stage in stages_of(name)}
    assert FLOAT32.keys() - compared == {"canvas", "alpha bars"}


def test_the_small_checks_hold() -> None:
    checked = set()
    for name, stages in run_extras(EXTRA):
        rows = list(rows_of_stages(name, stages))
        assert rows
        assert not [str(row) for row in rows if not row.holds]
        checked.add(name)
    assert checked == {path.stem for path in EXTRA.glob("*.json")}


@pytest.mark.parametrize("name", NAMES[:1])
def test_reference_features_are_not_rounded_to_half_as_the_authors_do(name: str) -> None:
    stages = {stage.name: stage for stage in stages_of(name)}
    rounded = case_named(name)["halfbank.latents"].double()
    (_, rel) = FINAL_LATENTS
    assert not rel(stages["final latents"].found, rounded).holds


@pytest.mark.parametrize("name", [name for name in NAMES if "bright" in name])
def test_a_bright_picture_is_not_normalised_twice(name: str) -> None:
    assert case_named(name).is_normalised_twice
    compared = {stage.name for stage in stages_of(name)}
    assert compared >= {"masked latents", "image tokens", "point embeddings"}

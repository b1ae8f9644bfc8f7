"""The documentation is kept honest: what it names is there, and what is there it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from shared.settings import PREFIX, Settings
from shared.telemetry import metrics

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
FILES = re.compile(r"`((?:api|worker|shared|infra|docs|tests|benchmarks)/[\w./-]+)`")
LINKS = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_every_setting_has_its_line_in_the_docs() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    documented = set(re.findall(rf"^\| `{PREFIX}(\w+)` \|", text, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_the_example_of_an_environment_has_every_setting() -> None:
    text = (REPOSITORY / ".env.example").read_text()
    named = re.findall(rf"^(?:# )?{PREFIX}(\w+)=", text, re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


def test_every_metric_has_its_line_in_the_docs_with_its_labels() -> None:
    text = (REPOSITORY / "docs" / "metrics.md").read_text()
    lines = re.findall(r"^\| `(towline_\w+)` \| ([^|]*)\|", text, re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in lines}
    assert documented == {
        _name_of(metric): _labels_of(metric)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase | metrics.FromDatabase)
    }


def _name_of(metric: Any) -> str:
    name = getattr(metric, "name", None) or metric._name
    return f"{name}_total" if isinstance(metric, Counter) else str(name)


def _labels_of(metric: Any) -> set[str]:
    return set(metric.labels if isinstance(metric, metrics.FromDatabase) else metric._labelnames)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_page_leads_nowhere_that_is_not_there(page: Path) -> None:
    text = page.read_text()
    missing = [link for link in LINKS.findall(text) if not (page.parent / link).exists()]
    missing += [name for name in FILES.findall(text) if not (REPOSITORY / name).exists()]
    assert not missing


def test_the_overview_names_every_page_of_the_architecture() -> None:
    folder = REPOSITORY / "docs" / "architecture"
    overview = (folder / "00-overview.md").read_text()
    pages = {page.name for page in folder.glob("0[1-9]-*.md")}
    assert pages == set(re.findall(r"\((\d\d-[\w-]+\.md)\)", overview))

"""Alerts, dashboards and what Prometheus reads agree with the code, the docs and Compose."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Histogram

from shared.telemetry import metrics
from tests.crew import REPOSITORY
from tests.servers.prometheus import FOLDER, program

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
DASHBOARDS = sorted((REPOSITORY / "infra" / "grafana" / "dashboards").glob("*.json"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
#: What the code logs, by name.
EVENTS = {
    event
    for part in ("api", "worker", "shared")
    for path in (REPOSITORY / part).rglob("*.py")
    for event in re.findall(r'(?:log\.\w+|_tell)\(\s*"(\w+)"', path.read_text())
}
PORTS = {
    "api": 8000,
    "worker-warp": 8001,
    "worker-gpu": 8001,
    "worker-io": 8001,
    "beat": 8001,
    "proxy": 8405,
}


def read(path: Any) -> dict[str, Any]:
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def panels() -> list[Any]:
    """Of both dashboards, but for the titles between them."""
    return [
        pytest.param(panel, id=f"{path.stem}: {panel['title']}")
        for path in DASHBOARDS
        for panel in read(path)["panels"]
        if panel["type"] != "row"
    ]


def sample_names() -> set[str]:
    """Every name that a query may use."""
    names = set()
    for metric in vars(metrics).values():
        if isinstance(metric, Counter):
            names.add(f"{metric._name}_total")
        elif isinstance(metric, Histogram):
            names |= {f"{metric._name}_{part}" for part in ("bucket", "sum", "count")}
        elif isinstance(metric, metrics.FromDatabase):
            names.add(metric.name)
    return names


def page_of(alert: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"-\1", alert).lower() + ".md"


def test_every_alert_has_its_runbook_and_no_runbook_is_left_over() -> None:
    assert sorted(page_of(rule["alert"]) for rule in RULES) == sorted(
        path.name for path in RUNBOOKS.glob("*.md") if path.name != "README.md"
    )


def test_the_list_of_runbooks_names_every_alert_with_its_severity() -> None:
    text = (RUNBOOKS / "README.md").read_text()
    listed = re.findall(r"^\| \[`(\w+)`\]\(([\w-]+\.md)\) \| (\w+) \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(
        (rule["alert"], page_of(rule["alert"]), rule["labels"]["severity"]) for rule in RULES
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_leads_to_its_page(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{page_of(rule['alert'])}"
    text = (RUNBOOKS / page_of(rule["alert"])).read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Look", "Do", "Over"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    assert set(re.findall(r"towline_\w+", rule["expr"])) <= sample_names()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_to_fire_and_not_to_fire(rule: dict[str, Any]) -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    name = f'alertname="{rule["alert"]}"'
    about = [one for test in tests for one in test["promql_expr_test"] if name in one["expr"]]
    fired = [sample["labels"] for one in about for sample in one["exp_samples"]]
    assert any('alertstate="firing"' in labels for labels in fired)
    assert any(one["exp_samples"] == [] for one in about)


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_a_runbook_looks_for_metrics_and_events_that_there_are(path: Any) -> None:
    text = path.read_text()
    queries = "".join(re.findall(r"```promql\n(.*?)```", text, re.DOTALL))
    assert set(re.findall(r"towline_\w+", queries)) <= sample_names()
    patterns = re.findall(r'"event": "\(?([\w|]+)\)?"', text)
    assert {event for pattern in patterns for event in pattern.split("|")} <= EVENTS


@pytest.mark.parametrize("panel", panels())
def test_a_panel_says_what_it_shows_and_asks_for_metrics_that_there_are(panel: Any) -> None:
    assert panel["description"]
    assert panel["datasource"]["uid"] == datasource_uid()
    assert panel["targets"]
    for target in panel["targets"]:
        used = set(re.findall(r"towline_\w+", target["expr"]))
        assert used <= sample_names()
        assert used or re.search(r"\b(up|ALERTS)\b", target["expr"])


def datasource_uid() -> str:
    path = REPOSITORY / "infra/grafana/provisioning/datasources/prometheus.yml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    return str(source["uid"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_panels_of_a_dashboard_have_places_and_ids_of_their_own(path: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read(path)["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in read(path)["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_metric_is_on_a_dashboard() -> None:
    shown = "".join(path.read_text() for path in DASHBOARDS)
    declared = {re.sub(r"_(bucket|sum|count)$", "", name) for name in sample_names()}
    assert {name for name in declared if name not in shown} == set()


def test_prometheus_reads_every_process_of_ours_and_reaches_nothing_else() -> None:
    (scraped,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    found = {
        name: each["port"] for each in scraped["dns_sd_configs"] for name in each["names"]
    }  # fmt: skip
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    services |= yaml.safe_load((REPOSITORY / "compose.gpu.yml").read_text())["services"]
    watched = {name for name, each in services.items() if "watched" in each.get("networks", [])}
    assert found == PORTS
    assert watched - {"prometheus"} == found.keys() - {"worker-gpu"}  # which extends worker-warp
    assert services["worker-gpu"]["extends"]["service"] == "worker-warp"
    assert set(services["grafana"]["networks"]) & set(services["api"]["networks"]) == set()


def test_promtool_finds_the_configuration_and_the_rules_right() -> None:
    promtool(["check", "config", str(FOLDER / "prometheus.yml")])


@pytest.mark.slow
def test_promtool_sees_each_alert_fire_and_not_fire() -> None:
    promtool(["test", "rules", str(FOLDER / "rules_test.yml")])


def promtool(arguments: list[str]) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

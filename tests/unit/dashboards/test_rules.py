"""Prometheus rules: generated, checked in, and about series that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lockgate.dashboards.rules.__main__ import ROOT
from lockgate.dashboards.rules.alerts import alerts
from lockgate.dashboards.rules.cases import CASES
from lockgate.dashboards.rules.files import everything, rules
from lockgate.dashboards.rules.page import filled
from lockgate.dashboards.rules.recording import RECORDINGS
from lockgate.dashboards.rules.words import Alert, Case
from lockgate.monitoring import catalog

ALERTS = alerts()
PAGE = ROOT / "docs" / "monitoring.md"
SAMPLES = {sample for series in catalog.CATALOG.values() for sample in series.samples}
EXPRESSIONS = {rule.series: rule.expr for rule in RECORDINGS} | {alert.name: alert.expr for alert in ALERTS}
AGAIN = "run `python -m lockgate.dashboards.rules`"


@pytest.mark.parametrize("name", everything())
def test_what_is_checked_in_is_what_is_generated(name: str) -> None:
    path = ROOT / "dashboards" / "prometheus" / name
    assert path.read_text() == everything()[name], f"{path.name} is not current: {AGAIN}"


def test_nothing_else_is_checked_in_as_generated() -> None:
    generated = {path.name for path in (ROOT / "dashboards" / "prometheus").glob("*.yml")}
    assert generated == {*everything(), "alertmanager.example.yml"}


def test_the_page_is_current() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, f"docs/monitoring.md is not current: {AGAIN}"


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the marks around its series"):
        filled("# Monitoring\n")


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_what_there_is(name: str) -> None:
    bare = re.sub(r'"[^"]*"|by \([^)]*\)|on \([^)]*\)|\[\w+\]', "", EXPRESSIONS[name])
    series = set(re.findall(r"\b(?:lockgate|envoy)[a-z0-9_:]*", re.sub(r"\{[^}]*\}", "", bare)))
    assert series or "up" in bare
    assert series <= SAMPLES


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_asks_for_labels_that_the_series_have(name: str) -> None:
    for series, matchers in re.findall(r"\b((?:lockgate|envoy)[a-z0-9_:]*)\{([^}]*)\}", EXPRESSIONS[name]):
        of = next(one for one in catalog.CATALOG.values() if series in one.samples)
        assert set(re.findall(r"(\w+)(?:=|!=|=~)\"", matchers)) <= set(of.labels)


def test_what_is_recorded_is_what_the_catalog_says() -> None:
    assert [rule.series for rule in RECORDINGS] == [series.name for series in catalog.of("rule")]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_is_tested_to_fire_and_not_to(alert: Alert) -> None:
    cases = [case for case in CASES if case.alert == alert.name]
    assert {bool(case.labels) for case in cases} == {True, False}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_to_do(alert: Alert) -> None:
    assert alert.todo.endswith((".", "?"))
    assert alert.description.endswith(".")
    assert not alert.summary.endswith(".")
    assert f"\n### {alert.name}\n" in PAGE.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.given}")
def test_a_case_is_of_an_alert_and_of_series_that_there_are(case: Case) -> None:
    assert case.alert in {alert.name for alert in ALERTS}
    for series in case.series:
        name, _, rest = series.partition("{")
        if name != "up":
            of = next(one for one in catalog.CATALOG.values() if name in one.samples)
            assert set(re.findall(r"(\w+)=", rest)) <= set(of.labels)


def test_the_budget_follows_from_the_objective() -> None:
    def limits(objective: float) -> list[str]:
        every = yaml.safe_load(rules(objective)["alerts.yml"])["groups"][0]["rules"]
        return [found for rule in every[:2] for found in re.findall(r"> ([\d.]+)", rule["expr"])]

    assert limits(99.9) == ["0.0144", "0.0144", "0.006", "0.006"]
    assert limits(99.5) == ["0.072", "0.072", "0.03", "0.03"]


@pytest.mark.parametrize("objective", [0.0, 100.0])
def test_an_objective_without_a_budget_is_refused(objective: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100 %"):
        rules(objective)


def test_the_examples_name_files_that_there_are() -> None:
    """The Docker example mounts them."""
    folder = ROOT / "examples" / "observability"
    document = yaml.safe_load((folder / "compose.yaml").read_text())
    for service in document["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (folder / source).exists(), source


def test_the_dashboards_are_mounted_where_grafana_looks_for_them() -> None:
    provisioned = ROOT / "dashboards" / "grafana" / "provisioning" / "dashboards" / "lockgate.yaml"
    (provider,) = yaml.safe_load(provisioned.read_text())["providers"]
    document = yaml.safe_load((ROOT / "examples" / "observability" / "compose.yaml").read_text())
    mounted = [volume.split(":")[1] for volume in document["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted


def test_the_example_of_alertmanager_sends_every_alert_somewhere() -> None:
    path: Path = ROOT / "dashboards" / "prometheus" / "alertmanager.example.yml"
    document = yaml.safe_load(path.read_text())
    receivers = {receiver["name"] for receiver in document["receivers"]}
    routes = [document["route"], *document["route"]["routes"]]
    assert {route["receiver"] for route in routes} <= receivers

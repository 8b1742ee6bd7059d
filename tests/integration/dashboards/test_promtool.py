"""Rules and configuration as Prometheus' own tool reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lockgate.dashboards.rules.__main__ import ROOT
from lockgate.flows.observing.folder import Wanted, written

RULES = ROOT / "dashboards" / "prometheus"


def run(promtool: str, *arguments: str | Path, at: Path = RULES) -> str:
    found = subprocess.run([promtool, *map(str, arguments)], cwd=at, capture_output=True, text=True, check=False)
    assert not found.returncode, found.stdout + found.stderr
    return found.stdout


def test_the_rules_are_well_formed(promtool: str) -> None:
    assert run(promtool, "check", "rules", "recording.yml", "alerts.yml").count("SUCCESS") == 2


def test_each_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", "alerts_test.yml")


@pytest.mark.parametrize("alertmanagers", [(), ("127.0.0.1:9093", "10.0.0.7:9093")])
def test_the_configuration_is_well_formed(promtool: str, tmp_path: Path, alertmanagers: tuple[str, ...]) -> None:
    lists = written(tmp_path, Wanted("127.0.0.1:9464", 0.5, 99.5, alertmanagers))
    for name in ("envoy", "replica"):
        (lists / f"{name}.json").write_text('[{"targets": ["127.0.0.1:3000"], "labels": {"name": "toy"}}]')
    said = run(promtool, "check", "config", tmp_path / "prometheus.yml", at=tmp_path)
    assert "2 rule files found" in said

"""The dashboards' expressions as Prometheus's own tool reads and computes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from lockgate.dashboards.grafana.promql import (
    against,
    copied_errors,
    copies,
    errors,
    phase_number,
    present_step,
    requests,
)
from lockgate.dashboards.grafana.queries import Times, asked, filled, marked, panels
from lockgate.dashboards.grafana.stored import documents

HOUR = Times(0.0, 3600.0)
OF = 'name="a"'
LIVE = 'envoy_cluster_upstream_rq_{}{{name="a",variant="candidate",traffic="live"{}}}'
COPIES = 'envoy_cluster_upstream_rq_{}{{name="a",variant="candidate",traffic="shadow"{}}}'
FIVE = ',envoy_response_code_class="5"'


def expressions() -> list[str]:
    found = []
    for document in documents().values():
        for panel in panels(document):
            found += asked(document, panel, {"name": "a"}, HOUR)
        found += marked(document, {"name": "a"}, HOUR)
    return [query.expr for query in found]


def run(tool: str, at: Path, *arguments: str) -> None:
    done = subprocess.run([tool, *arguments], cwd=at, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr


def test_every_expression_parses(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{i}", "expr": expr} for i, expr in enumerate(expressions())]
    assert len(rules) > 150
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, tmp_path, "check", "rules", "rules.yml")


def computed(tool: str, folder: Path, series: dict[str, str], wanted: dict[str, dict[str, float]]) -> None:
    """`wanted`: what an expression says after five minutes of the series, by labels."""
    test: dict[str, Any] = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": filled(expr, {"__rate_interval": "1m"}),
                "eval_time": "5m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expr, samples in wanted.items()
        ],
    }
    (folder / "test.yml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))
    run(tool, folder, "test", "rules", "test.yml")


def test_what_stable_rescued_is_the_candidates_error(promtool: str, tmp_path: Path) -> None:
    series = {
        LIVE.format("completed", ""): "0+1500x30",
        LIVE.format("retry_success", ""): "0+30x30",
        LIVE.format("xx", FIVE): "0+15x30",
    }
    wanted = {requests(OF): {'{variant="candidate"}': 100.0}, errors(OF): {'{variant="candidate"}': 0.03}}
    computed(promtool, tmp_path, series, wanted)


def test_before_the_first_5xx_there_is_a_ratio(promtool: str, tmp_path: Path) -> None:
    series = {LIVE.format("completed", ""): "0+1500x30", LIVE.format("retry_success", ""): "0+0x30"}
    computed(promtool, tmp_path, series, {errors(OF): {'{variant="candidate"}': 0.0}})


def test_copies_that_were_shed_are_nobodys_and_those_that_were_late_are_errors(promtool: str, tmp_path: Path) -> None:
    series = {
        COPIES.format("completed", ""): "0+1500x30",
        COPIES.format("pending_overflow", ""): "0+750x30",
        COPIES.format("max_duration_reached", ""): "0+75x30",
        COPIES.format("xx", FIVE): "0+750x30",
    }
    wanted = {copies(OF): {'{variant="candidate"}': 55.0}, copied_errors(OF): {'{variant="candidate"}': 1 / 11}}
    computed(promtool, tmp_path, series, wanted)


def test_a_phase_is_a_number(promtool: str, tmp_path: Path) -> None:
    series = {
        'lockgate_rollout_phase{name="a",phase="pending"}': "0x30",
        'lockgate_rollout_phase{name="a",phase="progressing"}': "1x30",
        'lockgate_rollout_phase{name="a",phase="failed"}': "0x30",
    }
    computed(promtool, tmp_path, series, {phase_number(OF): {'{name="a"}': 3.0}})


def test_of_two_steps_the_later_one_is_present(promtool: str, tmp_path: Path) -> None:
    """As after a scrape that failed: nobody told Prometheus that the first is over."""
    series = {
        'lockgate_rollout_step_info{name="a",kind="shadow",step="shadow"}': "1x18 _x12",
        'lockgate_rollout_step_info{name="a",kind="canary",step="canary 5 %"}': "_x19 1x11",
    }
    computed(promtool, tmp_path, series, {present_step(OF): {'{kind="canary",name="a",step="canary 5 %"}': 1.0}})


def test_evidence_is_a_part_of_its_bar_and_never_zero(promtool: str, tmp_path: Path) -> None:
    series = {
        'lockgate_gate_harm{name="a",gate="errors"}': "0x30",
        'lockgate_gate_harm{name="a",gate="latency"}': "50x30",
        'lockgate_gate_harm{name="a",gate="scores"}': "1000000x30",
        'lockgate_gate_harm{name="a",gate="slo"}': "1x30",
        **{f'lockgate_gate_fails_from{{name="a",gate="{gate}"}}': "100x30" for gate in ("errors", "latency", "scores")},
        'lockgate_gate_fails_from{name="a",gate="slo"}': "0x30",
    }
    found = {'{gate="errors",name="a"}': 0.001, '{gate="latency",name="a"}': 0.5, '{gate="scores",name="a"}': 10.0}
    computed(promtool, tmp_path, series, {against("lockgate_gate_harm", "lockgate_gate_fails_from", OF, 1e-3): found})

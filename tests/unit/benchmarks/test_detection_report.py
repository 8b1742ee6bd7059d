"""One whole run of the benchmark, on as little traffic as there can be."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.detection.__main__ import report
from benchmarks.detection.cases import QUICK
from benchmarks.detection.rows import Row
from benchmarks.detection.summary import summary
from benchmarks.detection.traffic import Cell, Kind

CELLS = (Cell(200, 0.05),)
TINY = replace(
    QUICK,
    aa=3,
    dependent=3,
    faults=9,
    cells=CELLS,
    fault_cells=CELLS,
    dependent_cells=CELLS,
    second_cells=(),
    profiles=("fast", "default"),
    kinds=(Kind("pods 0.5", pod_cv=0.5),),
    harm=("errors 0.1 → 1 %", "p99 x 2"),
    minutes=5,
    requests=4000,
)
KEYS = {
    "aa_false_rollback_max",
    "aa_dependent_max",
    "errors_01_1_vs_sprt",
    "errors_01_1_vs_sprt_by_weight",
    "errors_01_1_default",
    "p99_x2_vs_kayenta",
    "requests_to_pass_margin_05",
    "seconds",
}


def test_the_last_line_is_json_and_the_folder_holds_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    report(TINY, tmp_path, workers=0)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.keys() >= KEYS
    assert found["errors_01_1_vs_sprt"] > 0.3  # nine rollouts may be lucky, but not that lucky
    assert found["aa_false_rollback_rollouts"] == 3
    assert (tmp_path / "detection.png").stat().st_size > 1000
    assert "| Kayenta 5m |" in (tmp_path / "detection.md").read_text(encoding="utf-8")
    with (tmp_path / "detection.csv").open(encoding="utf-8") as file:
        sections = {row["section"] for row in csv.DictReader(file)}
    assert sections == {"false alarms", "dependent", "bound", "faults", "passing"}


def _p99(rule: str, rps: float, median: float | None) -> Row:
    return Row("faults", "p99 x 2", rule, rps, 0.05, 100, 1.0, median)


def test_the_worst_cell_counts_and_cells_where_kayenta_is_blind_are_told() -> None:
    rows = [
        *(_p99("Lockgate default", 20, 500), _p99("Kayenta 5m", 20, None)),
        *(_p99("Lockgate default", 200, 500), _p99("Kayenta 5m", 200, 1000)),
        *(_p99("Lockgate default", 2000, 900), _p99("Kayenta 5m", 2000, 1000)),
    ]
    found = summary(rows)
    assert found["p99_x2_vs_kayenta"] == 0.9
    assert found["p99_x2_kayenta_never"] == 1
    assert found["p99_x2_only_kayenta"] == 0


def test_no_ratio_is_told_where_only_kayenta_sees_it() -> None:
    found = summary([_p99("Lockgate default", 20, None), _p99("Kayenta 5m", 20, 1000)])
    assert found["p99_x2_vs_kayenta"] is None
    assert found["p99_x2_only_kayenta"] == 1


def test_more_false_alarms_than_kayentas_are_named() -> None:
    alarms = [
        Row("false alarms", "p99", rule, 20, 0.05, 100, share)
        for rule, share in (("Lockgate default", 0.02), ("Kayenta 5m", 0.01))
    ]
    found = summary([_p99("Lockgate default", 20, 500), _p99("Kayenta 5m", 20, 1000), *alarms])
    assert found["p99_x2_more_alarms_than_kayenta"] == ["20/s 5%"]


def test_only_small_weights_are_held_against_walds_bound() -> None:
    rows = [
        Row("bound", "errors 0.1 → 1 %", "Lockgate fast", 0, weight, 100, 1.0, median, None, 200.0)
        for weight, median in ((0.01, 300.0), (0.05, 320.0), (0.5, 800.0))
    ]
    found = summary(rows)
    assert found["errors_01_1_vs_sprt"] == 1.6
    assert found["errors_01_1_vs_sprt_by_weight"] == {"0.01": 1.5, "0.05": 1.6, "0.5": 4.0}

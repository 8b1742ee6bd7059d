"""The benchmark of the A/B test: its users are what they are said to be, and its last line is whole."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.ab.__main__ import report, summary
from benchmarks.ab.cases import AMOUNT, BASKET, QUICK, SOME, SPLITS
from benchmarks.ab.sections import Alarm, Coverage, Decision
from benchmarks.ab.users import Cell, Users

TINY = replace(
    QUICK,
    rollouts=8,
    users=1000,
    split_users=2000,
    coverage=(Cell(SOME, 0.5), Cell(AMOUNT, 0.5, 0.1, wave=True), Cell(BASKET, 0.5, 0.1, thompson=True)),
    decisions=((Cell(SOME, 0.5), 0.02), (Cell(AMOUNT, 0.5, 1.0), 0.02)),
    splits=(SPLITS[0], SPLITS[2], SPLITS[-1]),
)


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    report(TINY)
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    keys = {"coverage_min", "false_better_max", "srm_detected", "srm_false_alarms", "users_vs_fixed_horizon"}
    assert found.keys() >= keys
    assert found["srm_detected"] == 1.0
    assert found["srm_false_alarms"] == 0.0
    assert "lognormal wave" in out


@pytest.mark.parametrize("law", [SOME, AMOUNT, BASKET])
def test_users_have_the_mean_and_the_spread_of_their_law(law: object) -> None:
    cell = Cell(law, 0.3, lift=0.5)  # type: ignore[arg-type]
    users, sums = Users(cell, 400, np.random.default_rng(2)), np.zeros((2, 3))
    for _ in range(40):
        group = users.come()
        sums += [[arm.units.sum(), arm.total.sum(), arm.squares.sum()] for arm in (group.candidate, group.stable)]
    assert sums[0, 0] / sums[:, 0].sum() == pytest.approx(0.3, rel=0.02)
    for (n, total, squares), times in zip(sums, (1.5, 1.0), strict=True):
        mean, variance = cell.law.spread(times)
        assert total / n == pytest.approx(mean, rel=0.05)
        assert squares / n - (total / n) ** 2 == pytest.approx(variance, rel=0.2)


def test_a_horizon_by_hand() -> None:
    """5 to 6 %, half and half: (1.96 + 0.84)^2 (2 x 0.0564 + 2 x 0.0475) / 0.01^2."""
    assert Cell(SOME, 0.5, 0.2).horizon() == pytest.approx(16_310, rel=1e-3)


def test_thompson_moves_users_to_the_better_side_and_leaves_some_to_the_other() -> None:
    users = Users(Cell(AMOUNT, 0.5, 1.0, thompson=True), 20, np.random.default_rng(2))
    for _ in range(60):
        users.come()
    assert np.median(users.share) == pytest.approx(0.9)


def test_the_worst_cell_counts() -> None:
    cells = [Cell(SOME, 0.5), Cell(SOME, 0.5, 0.2)]
    found = summary(
        [Coverage(cell, 10, 100, covered, 0.1) for cell, covered in zip(cells, (1.0, 0.9), strict=True)],
        [
            Decision(cells[0], 0.02, 10, 0.01, 0.5, 100.0, 0.0),
            Decision(cells[1], 0.05, 10, 0.9, 0.03, 1500.0, 1000.0),
            Decision(cells[1], 0.2, 10, 0.5, 0.04, float("inf"), 1000.0),
            Decision(cells[1], 0.3, 10, 0.1, 0.9, 100.0, 1000.0),
        ],
        [Alarm(SPLITS[0], 10, 100, 0.1, float("inf")), Alarm(SPLITS[-1], 10, 100, 0.8, 50.0)],
    )
    assert found["coverage_min"] == 0.9
    assert found["false_better_max"] == 0.01
    assert found["false_not_better_max"] == 0.04
    assert found["users_vs_fixed_horizon"] == 1.5
    assert (found["srm_detected"], found["srm_false_alarms"]) == (0.8, 0.1)

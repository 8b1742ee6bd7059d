"""The last line: what the guarantees are checked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.detection.rows import Row

_LOW_WEIGHTS = (0.01, 0.05)
"""Where the price over Wald's bound is the judge's; at larger ones that of learning stable's rate takes over."""


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Shares are of rollouts, ratios of medians; None where nothing was simulated or found."""
    ours = [row for row in rows if row.section == "false alarms" and row.rule.startswith("Lockgate")]
    shadows: dict[str, list[Row]] = {}
    for row in rows:
        if row.section == "dependent":
            shadows.setdefault(row.rule.rpartition("; ")[2], []).append(row)
    hurt = shadows.get("alone", [])
    price = [row for row in rows if row.section == "bound" and row.case == "errors 0.1 → 1 %"]
    fast = {row.weight: _ratio(row.median, row.bound) for row in price if row.rule == "Lockgate fast"}
    default = {row.weight: row.median for row in price if row.rule == "Lockgate default"}
    passes = [row for row in rows if row.section == "passing"]
    return {
        "aa_false_rollback_max": _most(row.share for row in ours),
        "aa_false_rollback_rollouts": min((row.rollouts for row in ours), default=0),
        "aa_dependent_max": _most(row.share for row in hurt),
        "aa_dependent_errors_max": _most(row.share for row in hurt if row.rule.startswith("errors")),
        "aa_dependent_worst": _worst(hurt),
        "aa_dependent_by_shadow": {shadow: _most(row.share for row in rows) for shadow, rows in shadows.items()},
        "errors_01_1_vs_sprt": _most(fast.get(weight) for weight in _LOW_WEIGHTS),
        "errors_01_1_vs_sprt_by_weight": {f"{weight:g}": ratio for weight, ratio in fast.items()},
        "errors_01_1_default": _most(default.get(weight) for weight in _LOW_WEIGHTS),
        "errors_01_1_default_by_weight": {f"{weight:g}": median for weight, median in default.items()},
        **_against_kayenta(rows),
        "requests_to_pass_margin_05": _most(row.median for row in passes if row.case == "equal, stable 0.1%"),
        "requests_to_pass_margin_05_of_1": _most(row.median for row in passes if row.case == "equal, stable 1.0%"),
        "pass_vs_plan_max": _most(_ratio(row.median, row.bound) for row in passes),
        "false_pass_at_margin_max": _most(row.share for row in passes if row.case.startswith("at the margin")),
    }


def _against_kayenta(rows: Sequence[Row]) -> dict[str, Any]:
    """p99 x 2 by the default profile, over the cells; a rule detects where it does so in half of the rollouts."""
    case = [row for row in rows if row.section == "faults" and row.case == "p99 x 2"]
    medians = {(row.rule, row.rps, row.weight): row.median for row in case}
    cells = sorted({(row.rps, row.weight) for row in case})
    pairs = [(medians.get(("Lockgate default", *cell)), medians[("Kayenta 5m", *cell)]) for cell in cells]
    both = [_ratio(mine, theirs) for mine, theirs in pairs if theirs]
    alarms = [row for row in rows if row.section == "false alarms" and row.case == "p99"]
    rates = {(row.rule, row.rps, row.weight): row.share for row in alarms}
    return {
        "p99_x2_vs_kayenta": None if None in both else _most(both),
        "p99_x2_cells": len(cells),
        "p99_x2_kayenta_never": sum(theirs is None for _, theirs in pairs),
        "p99_x2_only_kayenta": sum(mine is None and theirs is not None for mine, theirs in pairs),
        "p99_x2_more_alarms_than_kayenta": [
            f"{rps:g}/s {weight:.0%}"
            for rps, weight in cells
            if rates.get(("Lockgate default", rps, weight), 0.0) > rates.get(("Kayenta 5m", rps, weight), 1.0)
        ],
    }


def _ratio(mine: float | None, theirs: float | None) -> float | None:
    return round(mine / theirs, 3) if mine is not None and theirs else None


def _most(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _worst(rows: Sequence[Row]) -> str | None:
    if not rows:
        return None
    row = max(rows, key=lambda row: row.share)
    return f"{row.case}, {row.rule.partition(';')[0]}, {row.rps:g}/s {row.weight:.0%}"

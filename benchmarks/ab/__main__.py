"""The A/B test on simulated users, who are looked at after every 50: python -m benchmarks.ab [--quick].

Coverage of the interval over all looks together, false and right decisions, users to a decision, and wrong splits.
Every number comes from the product's own code. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from math import isfinite

from rich.console import Console
from rich.table import Table

from benchmarks.ab.cases import FULL, QUICK, Size
from benchmarks.ab.sections import ALPHA, Alarm, Coverage, Decision, alarm, coverage, decision
from benchmarks.ab.users import LOOK

_HORIZONS, _WIDTH = 4, 130


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ab", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rollouts: minutes in place of an hour")
    parser.add_argument("--rollouts", type=int, help="simulated in each cell, in place of the size's own number")
    asked = parser.parse_args(arguments)
    size = QUICK if asked.quick else FULL
    report(Size(asked.rollouts, size.users, size.split_users) if asked.rollouts else size)


def report(size: Size) -> None:
    """Simulates, prints the tables, and prints the last line."""
    began = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(f"Looks after every {LOOK} users; decisions by the profile default (alpha 5%)")
    covered = [coverage(cell, size.rollouts, size.users) for cell in size.coverage]
    console.print(_coverage_table(covered))
    decided = list(_decisions(size))
    console.print(_decision_table(decided))
    alarms = [alarm(split, size.rollouts, size.split_users) for split in size.splits]
    console.print(_alarm_table(alarms))
    print(json.dumps({**summary(covered, decided, alarms), "seconds": round(time.monotonic() - began, 1)}))


def summary(covered: Sequence[Coverage], decided: Sequence[Decision], alarms: Sequence[Alarm]) -> dict[str, object]:
    """The worst cell of each. `users_vs_fixed_horizon`: the median cell with more than the least effect."""
    same = [each for each in decided if each.cell.lift == 0]
    better = [each for each in decided if each.cell.lift >= max(each.minimum_effect, 1e-9)]
    clear = [each for each in better if each.cell.lift > each.minimum_effect]
    fixed, moving = (sorted(d.median / d.horizon for d in clear if d.cell.thompson is on) for on in (False, True))
    wrong, right = ([each for each in alarms if each.split.wrong is bad] for bad in (True, False))
    return {
        "coverage_min": min((each.covered for each in covered), default=None),
        "coverage_mean": round(sum(each.covered for each in covered) / max(len(covered), 1), 5),
        "false_better_max": max((each.passed for each in same), default=None),
        "false_not_better_max": max((each.failed for each in better), default=None),
        "srm_detected": min((each.alarmed for each in wrong), default=None),
        "srm_users_median_max": max((_json(each.median) or -1 for each in wrong), default=None),
        "srm_false_alarms": max((each.alarmed for each in right), default=None),
        "users_vs_fixed_horizon": _json(fixed[len(fixed) // 2]) if fixed else None,
        "users_vs_fixed_horizon_max": _json(fixed[-1]) if fixed else None,
        "users_vs_fixed_horizon_thompson": _json(moving[-1]) if moving else None,
    }


def _decisions(size: Size) -> Iterator[Decision]:
    for cell, least in size.decisions:
        users = round(_HORIZONS * cell.horizon()) if cell.lift else size.users
        yield decision(cell, least, max(1, size.rollouts // 4), users)


def _coverage_table(rows: Sequence[Coverage]) -> Table:
    table = _table(f"Coverage at all looks together, alpha {ALPHA:.0%}", "users", "weight", "effect", "rollouts", "to")
    table.add_column("covered", justify="right")
    table.add_column("last width, median", justify="right")
    for row in rows:
        cell = row.cell
        width = f"{row.width:.1%}" if isfinite(row.width) else "open"
        at = (cell.name, f"{cell.weight:.0%}", f"{cell.lift:+.0%}", f"{row.rollouts}", f"{row.users:,}")
        table.add_row(*at, f"{row.covered:.2%}", width)
    return table


def _decision_table(rows: Sequence[Decision]) -> Table:
    head = (
        "users",
        "weight",
        "effect",
        "minimum",
        "rollouts",
        "pass",
        "fail",
        "median users",
        "fixed horizon",
        "ratio",
    )
    table = _table("Decisions", *head)
    for row in rows:
        cell = row.cell
        median = f"{row.median:,.0f}" if isfinite(row.median) else "never"
        fixed = (f"{row.horizon:,.0f}", f"{row.median / row.horizon:.2f}") if row.horizon else ("", "")
        at = (cell.name, f"{cell.weight:.0%}", f"{cell.lift:+.0%}", f"{row.minimum_effect:.0%}", f"{row.rollouts}")
        table.add_row(*at, f"{row.passed:.1%}", f"{row.failed:.1%}", median, *fixed)
    return table


def _alarm_table(rows: Sequence[Alarm]) -> Table:
    table = _table("Splits", "split", "rollouts", "to", "alarms", "median users")
    for row in rows:
        median = f"{row.median:,.0f}" if isfinite(row.median) else "never"
        table.add_row(row.split.name, f"{row.rollouts}", f"{row.users:,}", f"{row.alarmed:.2%}", median)
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for head in others:
        table.add_column(head, justify="right")
    return table


def _json(value: float) -> float | None:
    return round(value, 3) if isfinite(value) else None


if __name__ == "__main__":
    main()

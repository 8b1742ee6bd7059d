"""Median candidate requests to a rollback, by fault, weight and rule, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection.cases import FAULT_WEIGHTS
from benchmarks.detection.rows import Row

RPS = 200
_COLOURS = {
    "Lockgate fast": "#1a9850",
    "Lockgate default": "#006837",
    "Lockgate strict": "#66bd63",
    "Lockgate default, margin 5 %": "#a6d96a",
    "Flagger": "#d73027",
    "Argo": "#fc8d59",
    "Kayenta 5m": "#4575b4",
    "Kayenta 30m": "#91bfdb",
}


def draw(rows: Sequence[Row], file: Path) -> None:
    """One panel for each fault, at 200 requests a second. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.section == "faults" and row.rps == RPS]
    cases = list(dict.fromkeys(row.case for row in shown))
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), sharex=True, sharey="row")
    for axis, case in zip(axes.flat, cases, strict=False):
        _panel(axis, [row for row in shown if row.case == case], case)
    for axis in axes[-1]:
        axis.set_xlabel("candidate's weight")
    for axis in axes[:, 0]:
        axis.set_ylabel("candidate requests to a rollback")
    handles, labels = axes.flat[len(cases) - 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
    figure.suptitle(f"Median at {RPS} requests/s; a rule without a point never saw it in half an hour")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _panel(axis: object, rows: Sequence[Row], case: str) -> None:
    from typing import Any

    panel: Any = axis
    for rule, colour in _COLOURS.items():
        medians = {row.weight: row.median for row in rows if row.rule == rule}
        if medians:
            values = [medians.get(weight) or float("nan") for weight in FAULT_WEIGHTS]
            style = "-" if rule.startswith("Lockgate") else "--"
            panel.plot(range(len(FAULT_WEIGHTS)), values, style, marker="o", markersize=4, color=colour, label=rule)
    panel.set_xticks(range(len(FAULT_WEIGHTS)), [f"{weight:.0%}" for weight in FAULT_WEIGHTS])
    panel.set_yscale("log")
    panel.set_title(case)
    panel.grid(visible=True, alpha=0.3)

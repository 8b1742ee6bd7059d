"""The matrix as a table: what was struck, how often, what clients saw of it and how the rollouts ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from rich.table import Table

from benchmarks.chaos.faults import BY_NAME


def of(results: Iterable[dict[str, Any]]) -> Table:
    table = Table("fault", "points", "sites", "phases", "rollouts ended", "longest window", "broken", box=None)
    by_fault: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in results:
        by_fault[row["fault"]].append(row)
    for fault in BY_NAME.values():
        if rows := by_fault[fault.name]:
            table.add_row(fault.name, *_cells(rows))
    return table


def _cells(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    ended = Counter(row["ended"] for row in rows)
    windows = [row["window"] for row in rows if row["window"] is not None]
    return (
        str(len(rows)),
        str(len({(row["phase"], row["site"]) for row in rows})),
        str(len({row["phase"] for row in rows})),
        ", ".join(f"{count} {phase}" for phase, count in sorted(ended.items())),
        f"{max(windows):.1f} s" if windows else "",
        str(sum(bool(row["broken"]) for row in rows)),
    )

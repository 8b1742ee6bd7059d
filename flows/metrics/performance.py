"""The last look at performance, as samples: what the folder of each pipeline keeps of it."""

from __future__ import annotations

from pathlib import Path

from lockgate.flows.capture import read_settings
from lockgate.flows.metrics.sheet import Sheet
from lockgate.monitoring.performance.words import FOUND

_FIGURES = ("value", "baseline", "limit")


def put_all(sheet: Sheet, root: Path) -> None:
    """Of every pipeline that asks for it, also between rollouts; one whose file is damaged has no samples."""
    for path in sorted(root.glob(f"*/{FOUND}")):
        one = Sheet()
        try:
            _put(one, path.parent.name, path)
        except (KeyError, TypeError, ValueError):
            continue
        sheet.add(one)


def _put(sheet: Sheet, name: str, path: Path) -> None:
    found = read_settings(path)
    of = {"name": name, "version": str(found["version"]), "measure": str(found["measure"])}
    for figure in _FIGURES:
        value = found[figure]
        sheet.put(f"lockgate_performance_{figure}", None if value is None else float(value), **of)
    sheet.put("lockgate_performance_drifting", None if found["undecided"] else bool(found["drifting"]), **of)
    sheet.put("lockgate_performance_labelled", int(found["labelled"]), **of)
    sheet.put("lockgate_performance_coverage_ratio", float(found["coverage"]), **of)
    if found["labelled"]:
        sheet.put("lockgate_performance_lag_seconds", float(found["lag"]), **of)
        sheet.put("lockgate_performance_labelled_timestamp_seconds", float(found["received"]), **of)

"""The last comparison of the live inputs with the reference, as samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockgate.flows.metrics.sheet import Sheet
from lockgate.monitoring.catalog import MOST_FEATURES
from lockgate.monitoring.spec import DriftSpec

_DRIFTS = ("drifts", "severe")


def put(sheet: Sheet, name: str, document: Mapping[str, Any], limits: Mapping[str, Any]) -> None:
    """`document`: a `Comparison` as it was noted. `limits`: of the spec's `monitoring.drift`, as it was stored."""
    sheet.put("lockgate_drift_detected", bool(document["drifting"]), name=name)
    sheet.put("lockgate_drift_share_ratio", float(document["share"]), name=name)
    wanted = DriftSpec.model_validate(dict(limits))
    sheet.put("lockgate_drift_share_limit_ratio", wanted.share, name=name)
    sheet.put("lockgate_drift_threshold", wanted.threshold, name=name)
    sheet.put("lockgate_drift_rows", int(document["rows"]), name=name)
    sheet.put("lockgate_drift_compared_timestamp_seconds", float(document["until"]) or None, name=name)
    for of in sorted(document["features"], key=_first)[:MOST_FEATURES]:
        _feature(sheet, name, of)


def _first(of: Mapping[str, Any]) -> tuple[bool, bool, float, str]:
    return of["outcome"] not in _DRIFTS, of["outcome"] != "severe", -(_psi(of) or 0.0), str(of["name"])


def _psi(of: Mapping[str, Any]) -> float | None:
    return float(of["distances"][0]["psi"]) if of["distances"] else None


def _feature(sheet: Sheet, name: str, of: Mapping[str, Any]) -> None:
    feature = f"{of['name']} (output)" if of["role"] == "output" else str(of["name"])
    sheet.put("lockgate_drift_psi", _psi(of), name=name, feature=feature)
    sheet.put("lockgate_drift_missing_ratio", float(of["missing"]["live"]), name=name, feature=feature)
    sheet.put("lockgate_drift_drifting", of["outcome"] in _DRIFTS, name=name, feature=feature)

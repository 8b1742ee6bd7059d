"""The series of performance, which the exporter shows."""

from __future__ import annotations

from lockgate.monitoring.series import gauge

_MEASURED = ("name", "version", "measure")
PERFORMANCE = (
    gauge(
        "lockgate_performance_value", "the measure's", _MEASURED, "Of the version that serves, over the latest labels."
    ),
    gauge("lockgate_performance_baseline", "the measure's", _MEASURED, "What it was on rows that it had not seen."),
    gauge("lockgate_performance_limit", "the measure's", _MEASURED, "The baseline with its margin."),
    gauge("lockgate_performance_drifting", "0 or 1", _MEASURED, "Whether it became worse than the limit, and proven."),
    gauge("lockgate_performance_labelled", "requests", _MEASURED, "Requests with a label that were looked at."),
    gauge("lockgate_performance_coverage_ratio", "0 to 1", _MEASURED, "Share of the requests that has a label."),
    gauge("lockgate_performance_lag_seconds", "seconds", _MEASURED, "Half of the labels came within this time."),
    gauge("lockgate_performance_labelled_timestamp_seconds", "unix seconds", _MEASURED, "When the latest label came."),
)

"""What stable and the candidate do, side by side."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from lockgate.dashboards.grafana.layout import Line, line
from lockgate.dashboards.grafana.look import CANDIDATE, SHADOW, STABLE, dashed, fixed
from lockgate.dashboards.grafana.panels import graph, stacked
from lockgate.dashboards.grafana.promql import copied_errors, copies, errors, latency, requests
from lockgate.dashboards.grafana.targets import NAME, Query

_LIVE = f'{NAME}, traffic="live"'
_COPIES = f'{NAME}, traffic="shadow"'
_COPIED = "candidate, copies"


def traffic() -> tuple[Line, ...]:
    return (
        line(7, _weights(), _rate(), _errors()),
        line(7, *(_latency(q) for q in (0.5, 0.95, 0.99))),
    )


def by_variant(panel: timeseries.Panel) -> timeseries.Panel:
    """Each variant in its colour wherever it appears."""
    panel = panel.override_by_name("stable", [fixed(STABLE)]).override_by_name("candidate", [fixed(CANDIDATE)])
    return panel.override_by_name(_COPIED, [fixed(SHADOW), dashed()])


def _weights() -> timeseries.Panel:
    about = "Share of the live requests that each variant answers; the dashed line is what is copied to the candidate."
    panel = stacked(
        graph(
            "Traffic",
            about,
            Query(f"lockgate_rollout_weight_ratio{{{NAME}}}", "{{variant}}"),
            Query(f"lockgate_rollout_mirror_ratio{{{NAME}}} > 0", _COPIED),
        )
    )
    unstacked = DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"})
    copied = [unstacked, DynamicConfigValue("custom.fillOpacity", 0), DynamicConfigValue("custom.lineWidth", 2)]
    return by_variant(panel.unit("percentunit").min(0).max(1)).override_by_name(_COPIED, copied)


def _rate() -> timeseries.Panel:
    about = "Requests per second that the router sent to each variant, and got an end of."
    return by_variant(
        graph("Requests", about, *_both(f"{requests(NAME)} > 0", f"{copies(NAME)} > 0")).unit("reqps").min(0)
    )


def _errors() -> timeseries.Panel:
    about = (
        "Share of each variant's requests that failed: answered 5xx, or answered by stable in the candidate's place. "
        "Clients see only the former."
    )
    return by_variant(
        graph("Errors", about, *_both(errors(NAME), copied_errors(NAME))).unit("percentunit").min(0).axis_soft_max(0.01)
    )


def _latency(q: float) -> timeseries.Panel:
    half = {0.5: "Half of the requests took"}.get(q, f"{q:.0%} of the requests took")
    about = f"{half} at most this long, from the end of the request to the end of the answer."
    panel = graph(f"Latency p{q * 100:g}", about, *_both(latency(q, _LIVE), latency(q, _COPIES)))
    return by_variant(panel.unit("s").min(0))


def _both(live: str, copied: str) -> tuple[Query, Query]:
    """Of live requests, and of the copies that a shadow step makes."""
    return Query(live, "{{variant}}"), Query(copied, _COPIED)

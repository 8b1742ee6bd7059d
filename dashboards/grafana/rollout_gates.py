"""What the gates say, and on what grounds."""

from __future__ import annotations

from collections.abc import Callable

from grafana_foundation_sdk.builders import statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, TableSortByFieldState
from grafana_foundation_sdk.models import common

from lockgate.dashboards.grafana.layout import Folded, Line, line
from lockgate.dashboards.grafana.look import (
    CANDIDATE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    STABLE,
    YELLOW,
    dashed,
    fixed,
    outcomes,
    shades,
    steps,
)
from lockgate.dashboards.grafana.panels import (
    CELL,
    column,
    graph,
    joined,
    listing,
    logarithmic,
    thresholds,
    timeline,
)
from lockgate.dashboards.grafana.promql import against
from lockgate.dashboards.grafana.targets import NAME, Query, rows

_GATE = f'{NAME}, gate=~"$gate"'
_MAIN = f'{_GATE}, variant="candidate"'
"""Without the other challengers of an A/B test: the table and the timeline have them."""
_LEAST = 1e-4
_COLUMNS = {
    "outcome": "Verdict",
    "candidate": "Candidate",
    "stable": "Stable",
    "limit": "Limit",
    "harm": "Harm",
    "fails_from": "Fails from",
    "safety": "Safety",
    "passes_from": "Passes from",
}
_METRICS = {
    "error_rate": RED,
    "latency": SKY,
    "disagreement": ORANGE,
    "prediction_drift": GREEN,
    "query": YELLOW,
}
_OTHERS = PURPLE
"""Business metrics, of A/B tests."""
_SHARES = "error_rate|disagreement|prediction_drift"


def gates() -> tuple[Line | Folded, ...]:
    return (
        line(7, _table()),
        line(7, _of_limit(), _harm(), _safety()),
        line(6, _values()),
        line(5, _outcomes()),
        Folded("A/B test and approvals", (line(8, _effect(), _approvals(), widths=(16, 8)),)),
    )


def _table() -> table.Panel:
    about = (
        "Every gate's verdict, what was measured in the step in the metric's own unit (shares from 0 to 1, latency in "
        "milliseconds), and its evidence: harm fails the gate, safety passes it."
    )
    by = "max by (variant, gate, metric)"
    panel = listing("Gates", about, *(rows(f"{by} (lockgate_gate_{of}{{{NAME}}})") for of in _COLUMNS))
    values = {f"Value #{letter}": name for letter, name in zip("ABCDEFGH", _COLUMNS.values(), strict=True)}
    panel = joined(panel, {"gate": "Gate", "metric": "Metric", "variant": "Variant", **values})
    panel = panel.override_by_name("Verdict", [CELL, column("mappings", outcomes()), column("custom.width", 110)])
    for name, bar, colour in (("Harm", "Fails from", RED), ("Safety", "Passes from", GREEN)):
        panel = panel.override_by_name(name, [column("decimals", 2), fixed(colour)])
        panel = panel.override_by_name(bar, [column("decimals", 0)])
    return panel.sort_by([TableSortByFieldState().display_name("Gate")])


def _of_limit() -> timeseries.Panel:
    about = "What was measured of the candidate, as a part of the gate's limit. Beyond 100 % it is more than tolerated."
    shown = _by_metric(lambda of: f"lockgate_gate_candidate{{{of}}} / (lockgate_gate_limit{{{of}}} > 0)")
    panel = graph("Candidate, of the limit", about, *shown).unit("percentunit").min(0).axis_soft_max(1.2)
    return _bar(panel, RED)


def _harm() -> timeseries.Panel:
    about = "Evidence that the limit is exceeded, as a part of what fails the gate. At 100 % it fails."
    return _evidence("Harm, of what fails", about, "harm", "fails_from", RED)


def _safety() -> timeseries.Panel:
    about = "Evidence that the limit is kept, as a part of what passes the gate. At 100 % it passes."
    return _evidence("Safety, of what passes", about, "safety", "passes_from", GREEN)


def _evidence(title: str, about: str, value: str, bar: str, colour: str) -> timeseries.Panel:
    shown = _by_metric(lambda of: against(f"lockgate_gate_{value}", f"lockgate_gate_{bar}", of, _LEAST))
    panel = logarithmic(graph(title, about, *shown)).unit("percentunit").min(_LEAST).max(10)
    return _bar(panel, colour)


def _bar(panel: timeseries.Panel, colour: str) -> timeseries.Panel:
    style = GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    for letter, of_metric in zip("ABCDEF", (*_METRICS.values(), _OTHERS), strict=True):
        panel = panel.override_by_query(letter, [shades(of_metric)])
    panel = panel.thresholds(thresholds(steps("transparent", (1, colour))))
    return panel.thresholds_style(style).fill_opacity(0)


def _by_metric(expr: Callable[[str], str]) -> list[Query]:
    """A query for each metric, so that each has a colour of its own in every graph."""
    each = [f'metric="{metric}"' for metric in _METRICS] + [f'metric!~"{"|".join(_METRICS)}"']
    return [Query(expr(f"{_MAIN}, {metric}"), "{{gate}}") for metric in each]


def _values() -> timeseries.Panel:
    """One for each gate. Its unit goes with its metric, so each metric's unit has a query of its own."""
    about = "What was measured in the step, of both variants, against the limit that the candidate must not exceed."
    panel = graph(
        "$gate",
        about,
        _sides('metric="latency"', " / 1000"),
        _sides(f'metric=~"{_SHARES}"'),
        _sides(f'metric!~"latency|{_SHARES}"'),
    )
    panel = panel.fill_opacity(0).min(0).repeat("gate").repeat_direction("h").max_per_row(6)
    panel = panel.override_by_query("A", [column("unit", "s")]).override_by_query("B", [column("unit", "percentunit")])
    for name, look in (
        ("candidate", [fixed(CANDIDATE)]),
        ("stable", [fixed(STABLE)]),
        ("limit", [fixed(RED), dashed()]),
    ):
        panel = panel.override_by_name(name, look)
    return panel


def _sides(metric: str, scale: str = "") -> Query:
    """Candidate, stable and limit of the gate, each with its name as the label `side`."""
    of = f"{{{_MAIN}, {metric}}}"
    named = (f'label_replace(lockgate_gate_{side}{of}{scale}, "side", "{side}", "", "")' for side in _SIDES)
    return Query(" or ".join(named), "{{side}}")


_SIDES = ("candidate", "stable", "limit")


def _outcomes() -> statetimeline.Panel:
    about = "Each gate's verdict over time. A gate that failed stays failed; a pass is of its step."
    panel = timeline("Verdicts", about, Query(f"lockgate_gate_outcome{{{_GATE}}}", "{{variant}}: {{gate}}"))
    return panel.mappings(outcomes())


def _effect() -> timeseries.Panel:
    about = (
        "Of each business metric: the candidate's mean over stable's, less 1. The true effect is in the band at every "
        "moment at once, but for alpha."
    )
    panel = graph(
        "Effect",
        about,
        *(
            Query(f"lockgate_gate_effect_{of}{{{_GATE}}}", f"{{{{variant}}}}: {{{{gate}}}}, {words}")
            for of, words in _EFFECT.items()
        ),
    )
    edge = [column("custom.lineWidth", 1), fixed(SKY), column("custom.fillOpacity", 0)]
    for words in ("at least", "at most"):
        panel = panel.override_by_regexp(f"/, {words}$/", edge)
    return panel.unit("percentunit").override_by_regexp(
        "/, effect$/", [fixed(CANDIDATE), column("custom.lineWidth", 3)]
    )


def _approvals() -> timeseries.Panel:
    about = "How many people have approved what is asked, and how many must."
    panel = graph(
        "Approvals",
        about,
        Query(f"lockgate_approval_approvals{{{NAME}}}", "given"),
        Query(f"lockgate_approval_required{{{NAME}}}", "required"),
    )
    panel = panel.override_by_name("given", [fixed(SKY)]).override_by_name("required", [fixed(RED), dashed()])
    return panel.unit("short").min(0).decimals(0).axis_soft_max(1)


_EFFECT = {"ratio": "effect", "lowest_ratio": "at least", "highest_ratio": "at most"}

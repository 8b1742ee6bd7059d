"""The dashboard of all pipelines."""

from __future__ import annotations

from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.builders.common import TableSortByFieldState
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from lockgate.dashboards.grafana.dashboard import Page
from lockgate.dashboards.grafana.layout import line
from lockgate.dashboards.grafana.look import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    QUIET,
    RED,
    SKY,
    YELLOW,
    dashed,
    fixed,
    phases,
    steps,
    texts,
    yes_no,
)
from lockgate.dashboards.grafana.panels import (
    BAR,
    CELL,
    bars,
    column,
    graph,
    joined,
    listing,
    number,
    stacked,
    thresholds,
)
from lockgate.dashboards.grafana.promql import EVERY, phase_number, present_step
from lockgate.dashboards.grafana.targets import Query, now, rows
from lockgate.dashboards.grafana.variables import labels

_OF = 'name=~"$name"'
_LINK = {"title": "Its rollout", "url": "/d/lockgate-rollout?var-name=${__value.raw}&${__url_time_range}"}
_Panel = TypeVar("_Panel", bargauge.Panel, timeseries.Panel)
_ENDS = {"succeeded": GREEN, "rolled_back": RED, "failed": PURPLE}


def page() -> Page:
    return Page(
        uid="lockgate-fleet",
        title="Lockgate: fleet",
        description="All pipelines: who is where, who waits for people, who drifts, and what became of the rollouts.",
        lines=(
            line(3, *_numbers()),
            line(9, _pipelines()),
            line(8, _ended(), _ends(), _cost()),
            line(8, _clients(), _client_errors(), _exporter()),
        ),
        variables=(labels("name", "Pipelines", "lockgate_rollout_open"),),
        since="24h",
    )


def _numbers() -> tuple[stat.Panel, ...]:
    def count(title: str, about: str, expr: str, colour: str = "text") -> stat.Panel:
        panel = number(title, about, now(f"count({expr}) or vector(0)")).decimals(0)
        return panel.thresholds(thresholds(steps("text", (1, colour))))

    undriven = f"lockgate_rollout_open{{{_OF}}} == 1 unless on (name) lockgate_controller_driven{{{_OF}}} == 1"
    return (
        count("Pipelines", "That ever had a rollout.", f"lockgate_rollout_open{{{_OF}}}"),
        count("Rollouts open", "Between their first step and their end.", f"lockgate_rollout_open{{{_OF}}} == 1", SKY),
        count("Wait for people", "Asked to approve.", f"lockgate_approval_pending{{{_OF}}} == 1", YELLOW),
        count("Held by drift", "No step goes on.", f"lockgate_rollout_held{{{_OF}}} == 1", ORANGE),
        count("Inputs drift", "Held or not.", f"lockgate_drift_detected{{{_OF}}} == 1", ORANGE),
        count("Gates that fail", "Of all open rollouts, now.", f"lockgate_gate_outcome{{{_OF}}} == 3", RED),
        count("Driven by nobody", "Open, and no process decides.", undriven, RED),
        number("Store", "Whether the exporter can read Lockgate's store.", now("min(lockgate_store_up)")).mappings(
            yes_no("readable", "not readable", GREEN, RED)
        ),
    )


def _pipelines() -> table.Panel:
    about = "One pipeline a line. Its name leads to its rollout."
    closed = f"1000 * max by (name) (max_over_time(lockgate_rollout_closed_timestamp_seconds{{{_OF}}}[30d]))"
    panel = listing(
        "Every pipeline",
        about,
        rows(f"max by (name, model, stable_version, candidate_version) (lockgate_rollout_info{{{_OF}}})"),
        rows(phase_number(_OF)),
        rows(f"max by (name, step) ({present_step(_OF)})"),
        rows(f'max by (name) (lockgate_rollout_weight_ratio{{{_OF}, variant="candidate"}})'),
        rows(f"max by (name) ({_driven()})"),
        rows(f"max by (name) (lockgate_approval_pending{{{_OF}}} or 0 * lockgate_rollout_open{{{_OF}}})"),
        rows(f"max by (name) (lockgate_gate_outcome{{{_OF}}} >= 2) or min by (name) (lockgate_gate_outcome{{{_OF}}})"),
        rows(f"max by (name) (lockgate_drift_detected{{{_OF}}})"),
        rows(closed),
    )
    columns = {"name": "Pipeline", "model": "Model", "stable_version": "Stable", "candidate_version": "Candidate"}
    columns |= {"Value #B": "Phase", "step": "Step"}
    values = ("Weight", "Driven", "Approval", "Gates", "Drift", "Last decision")
    columns |= {f"Value #{letter}": name for letter, name in zip("DEFGHI", values, strict=True)}
    panel = joined(panel, columns, hide=["Value #A", "Value #C"])
    for name, properties in _looks().items():
        panel = panel.override_by_name(name, properties)
    return panel.sort_by([TableSortByFieldState().display_name("Pipeline")])


def _driven() -> str:
    """1 and 0, and -1 where no rollout is open: nobody has to drive that."""
    open_ = f"lockgate_rollout_open{{{_OF}}}"
    return f"(lockgate_controller_driven{{{_OF}}} and on (name) {open_} == 1) or on (name) ({open_} == 0) - 1"


def _looks() -> dict[str, list[DynamicConfigValue]]:
    """Of the columns."""
    worst = {"0": ("undecided", GREY), "1": ("pass", GREEN), "2": ("error", PURPLE), "3": ("fail", RED)}
    return {
        "Pipeline": [column("links", [_LINK])],
        "Phase": [CELL, column("mappings", phases()), column("custom.width", 120)],
        "Weight": [BAR, column("unit", "percentunit"), column("min", 0), column("max", 1), fixed(ORANGE)],
        "Driven": [
            CELL,
            column("mappings", texts({"0": ("by nobody", RED), "1": ("yes", QUIET), "-1": ("not open", QUIET)})),
        ],
        "Approval": [CELL, column("mappings", yes_no("asked", "no", YELLOW))],
        "Gates": [CELL, column("mappings", texts(worst))],
        "Drift": [CELL, column("mappings", yes_no("drift", "no", ORANGE))],
        "Last decision": [column("unit", "dateTimeFromNow")],
    }


def _ended() -> bargauge.Panel:
    about = "Rollouts that ended, by how, since the pipelines began."
    panel = bars(
        "Ended so far", about, now(f"sort_desc(sum by (outcome) (lockgate_rollouts_total{{{_OF}}}))", "{{outcome}}")
    )
    return _by_end(panel.min(0).decimals(0).min_viz_height(24).max_viz_height(48))


def _ends() -> timeseries.Panel:
    about = "Rollouts that ended in each hour."
    shown = Query(f"sum by (outcome) (increase(lockgate_rollouts_total{{{_OF}}}[1h]))", "{{outcome}}")
    return _by_end(stacked(graph("Ended in the hour", about, shown)).min(0).decimals(0))


def _by_end(panel: _Panel) -> _Panel:
    for end, colour in _ENDS.items():
        panel = panel.override_by_name(end, [fixed(colour), column("displayName", end.replace("_", " "))])
    return panel


def _cost() -> bargauge.Panel:
    about = "Requests that the candidate answered until the last rollout of each pipeline was decided."
    shown = now(f"sort_desc(lockgate_rollout_requests_to_decision{{{_OF}}})", "{{name}}")
    return bars("Requests to a decision", about, shown).min(0).unit("short").thresholds(thresholds(steps(BLUE)))


def _clients() -> timeseries.Panel:
    shown = Query(f"sum by (name) (rate(envoy_http_downstream_rq_xx{{{_OF}}}{EVERY}))", "{{name}}")
    return graph("Clients' requests", "Answered per second, by pipeline.", shown).unit("reqps").min(0)


def _client_errors() -> timeseries.Panel:
    served = f"sum by (name) (rate(envoy_http_downstream_rq_xx{{{_OF}}}{EVERY}))"
    failed = served.replace(_OF, f'{_OF}, envoy_response_code_class="5"')
    panel = graph(
        "Clients' errors",
        "Share of the clients' requests that were answered 5xx, by pipeline.",
        Query(f"({failed} or 0 * {served}) / ({served} > 0)", "{{name}}"),
    )
    return panel.unit("percentunit").min(0).axis_soft_max(0.01)


def _exporter() -> timeseries.Panel:
    about = "How long the exporter takes to read the store, and what it could not read."
    panel = graph(
        "Exporter",
        about,
        Query("max(lockgate_exporter_collect_seconds)", "time to read"),
        Query(f"sum(rate(lockgate_exporter_scrape_errors_total{EVERY}))", "errors"),
    )
    right = [column("unit", "cps"), column("custom.axisPlacement", "right"), fixed(RED), dashed()]
    return panel.unit("s").min(0).override_by_name("time to read", [fixed(SKY)]).override_by_name("errors", right)

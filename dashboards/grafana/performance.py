"""How well the version that serves answers, by the labels that came: lines of the dashboard of drift."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, timeseries

from lockgate.dashboards.grafana.layout import Line, line
from lockgate.dashboards.grafana.look import GREY, ORANGE, RED, SKY, dashed, fixed, steps, yes_no
from lockgate.dashboards.grafana.panels import background, graph, number, thresholds
from lockgate.dashboards.grafana.targets import NAME, Query, now


def lines() -> tuple[Line, ...]:
    return line(3, *_numbers(), widths=(5, 5, 5, 5, 4)), line(7, _value(), _coverage(), widths=(16, 8))


def _of(what: str) -> str:
    return f"lockgate_performance_{what}{{{NAME}}}"


def _numbers() -> tuple[stat.Panel, ...]:
    few = thresholds(steps(ORANGE, (0.5, "text")))
    old = thresholds(steps("text", (86_400, ORANGE)))
    ago = f"time() - {_of('labelled_timestamp_seconds')}"
    return (
        background(number("Performance", "Worse than the limit, and proven.", now(_of("drifting")))).mappings(
            yes_no("drift", "no drift", RED)
        ),
        number("Labelled", "Requests with a label, the latest ones.", now(_of("labelled"))).unit("short"),
        number("Labels come within", "Half of the labels came after this time.", now(_of("lag_seconds"))).unit("s"),
        number("Latest label", "How long ago it came.", now(ago)).unit("s").thresholds(old),
        number("Coverage", "Of the requests, the share with a label.", now(_of("coverage_ratio")))
        .unit("percentunit")
        .thresholds(few),
    )


def _value() -> timeseries.Panel:
    about = (
        "The measure over the latest labelled requests, what it was on rows that the model had not seen, and the limit."
        " Empty where the spec has no monitoring.performance."
    )
    panel = graph(
        "Performance by labels",
        about,
        Query(_of("value"), "{{measure}} of version {{version}}"),
        Query(_of("baseline"), "baseline"),
        Query(_of("limit"), "limit"),
    )
    panel = panel.override_by_query("A", [fixed(SKY)]).fill_opacity(0)
    return panel.override_by_name("baseline", [fixed(GREY), dashed()]).override_by_name("limit", [fixed(RED), dashed()])


def _coverage() -> timeseries.Panel:
    about = "Of the requests that were answered meanwhile, the share with a label: the others may be unlike them."
    panel = graph("Coverage over time", about, Query(_of("coverage_ratio"), "coverage"))
    return panel.unit("percentunit").min(0).max(1).override_by_name("coverage", [fixed(SKY)])

"""The dashboard of drift: live requests against what the model was trained on, and performance by labels."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.heatmap import YAxisConfig

from lockgate.dashboards.grafana import performance
from lockgate.dashboards.grafana.annotations import marks
from lockgate.dashboards.grafana.dashboard import Page
from lockgate.dashboards.grafana.layout import line
from lockgate.dashboards.grafana.look import GREY, ORANGE, RED, SKY, dashed, fixed, steps, texts, yes_no
from lockgate.dashboards.grafana.panels import background, bars, column, graph, heat, number, thresholds, timeline
from lockgate.dashboards.grafana.targets import NAME, Query, now
from lockgate.dashboards.grafana.variables import label, labels

_FEATURE = f'{NAME}, feature=~"$feature"'
_SEVERE = 0.25
"""As `monitoring.drift` has it: from here on one feature is enough."""
_MOST = 25


def page() -> Page:
    return Page(
        uid="lockgate-drift",
        title="Lockgate: drift",
        description=(
            "Whether live requests are still like the data that the model was trained on, which blames nobody; and how"
            " well the version that serves answers, by the labels that came."
        ),
        lines=(
            line(3, *_numbers()),
            line(11, _psi_now(), _missing_now(), widths=(14, 10)),
            line(8, _psi(), _share()),
            line(10, _map(), _which()),
            *performance.lines(),
        ),
        variables=(
            label("name", "Pipeline", "lockgate_drift_detected"),
            labels("feature", "Features", 'lockgate_drift_psi{name="$name"}'),
        ),
        marks=marks(),
        since="6h",
    )


def _numbers() -> tuple[stat.Panel, ...]:
    drifting = f"sum(lockgate_drift_drifting{{{NAME}}})"
    ago = f"time() - lockgate_drift_compared_timestamp_seconds{{{NAME}}}"
    old = thresholds(steps("text", (3600, ORANGE)))
    return (
        background(number("Inputs", "As a whole.", now(f"lockgate_drift_detected{{{NAME}}}"))).mappings(
            yes_no("drift", "no drift", RED)
        ),
        number("Features that drift", "Of those that are shown.", now(drifting)).decimals(0),
        number("Share", "Of the inputs that drift.", now(f"lockgate_drift_share_ratio{{{NAME}}}"))
        .unit("percentunit")
        .decimals(0),
        number("Largest PSI", "Of all features; 0.25 is severe.", now(f"max(lockgate_drift_psi{{{NAME}}})"))
        .decimals(2)
        .thresholds(thresholds(steps("text", (_SEVERE, RED)))),
        number(
            "Threshold", "PSI from which a feature drifts, if it is proven.", now(f"lockgate_drift_threshold{{{NAME}}}")
        ).decimals(2),
        number("Rows compared", "The latest live rows.", now(f"lockgate_drift_rows{{{NAME}}}")).unit("short"),
        number("Latest row", "How long ago the latest compared row was answered.", now(ago)).unit("s").thresholds(old),
        background(number("Rollout", "Whether drift holds it.", now(f"lockgate_rollout_held{{{NAME}}}"))).mappings(
            yes_no("held", "not held", ORANGE)
        ),
    )


def _psi_now() -> bargauge.Panel:
    about = (
        "Distance of each feature from the reference, the largest first. Those in red drift: more than the threshold, "
        "and proven, or too much is missing, new or out of range."
    )
    found = f"lockgate_drift_psi{{{_FEATURE}}} {{}} on (name, feature) (lockgate_drift_drifting{{{_FEATURE}}} == 1)"
    return _ranked("PSI now", about, found).decimals(3)


def _missing_now() -> bargauge.Panel:
    about = "Share of the live rows without a value, the largest first. Red: the feature drifts."
    values = f"lockgate_drift_missing_ratio{{{_FEATURE}}} {{}}"
    found = f"{values} on (name, feature) (lockgate_drift_drifting{{{_FEATURE}}} == 1)"
    return _ranked("Missing now", about, found).unit("percentunit").max(1)


def _ranked(title: str, about: str, found: str) -> bargauge.Panel:
    """Those that drift before those that do not."""
    drift, others = (now(f"sort_desc({found.replace('{}', which)})", "{{feature}}") for which in ("and", "unless"))
    panel = bars(title, about, drift, others).min(0)
    return panel.override_by_query("A", [fixed(RED)]).override_by_query("B", [fixed(SKY)])


def _psi() -> timeseries.Panel:
    about = "The ten features that were farthest away, and the threshold."
    panel = graph(
        "PSI",
        about,
        _farthest(10),
        Query(f"lockgate_drift_threshold{{{NAME}}}", "threshold"),
    )
    return panel.fill_opacity(0).min(0).override_by_name("threshold", [fixed(RED), dashed()])


def _farthest(many: int) -> Query:
    """The same features in the whole of what is shown, or each point would have others."""
    psi = f"lockgate_drift_psi{{{_FEATURE}}}"
    return Query(f"{psi} and topk({many}, max_over_time({psi}[$__range] @ end()))", "{{feature}}")


def _share() -> timeseries.Panel:
    about = "Share of the inputs that drift. At the limit the whole does."
    panel = graph(
        "Share of the inputs that drift",
        about,
        Query(f"lockgate_drift_share_ratio{{{NAME}}}", "share"),
        Query(f"lockgate_drift_share_limit_ratio{{{NAME}}}", "limit"),
    )
    panel = panel.override_by_name("share", [fixed(SKY), column("custom.lineInterpolation", "stepAfter")])
    return panel.unit("percentunit").min(0).max(1).override_by_name("limit", [fixed(RED), dashed()])


def _map() -> heatmap.Panel:
    about = "Each feature's PSI over time: the brighter, the farther from the reference."
    return heat("PSI over time", about, _farthest(_MOST)).y_axis(YAxisConfig().axis_width(110))


def _which() -> statetimeline.Panel:
    about = "When each feature drifted. Those that never did are left out."
    shown = Query(f"lockgate_drift_drifting{{{_FEATURE}}} == 1", "{{feature}}")
    whole = Query(f"lockgate_drift_detected{{{NAME}}}", "all inputs")
    panel = timeline("Drifting", about, whole, shown).mappings(texts({"1": (" ", ORANGE)})).row_height(0.8)
    return panel.override_by_query("A", [column("mappings", texts({"0": (" ", GREY), "1": ("drift", RED)}))])

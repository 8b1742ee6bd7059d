"""The dashboard of what answers: replicas, by model and version."""

from __future__ import annotations

from grafana_foundation_sdk.builders import heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.common import TableSortByFieldState
from grafana_foundation_sdk.builders.heatmap import YAxisConfig

from lockgate.dashboards.grafana import machine
from lockgate.dashboards.grafana.dashboard import Page
from lockgate.dashboards.grafana.layout import line
from lockgate.dashboards.grafana.look import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, dashed, fixed, shades, steps
from lockgate.dashboards.grafana.panels import column, graph, heat, joined, listing, number, stacked, thresholds
from lockgate.dashboards.grafana.promql import EVERY, quantile, rate
from lockgate.dashboards.grafana.rollout_traffic import by_variant
from lockgate.dashboards.grafana.targets import Query, buckets, now, rows
from lockgate.dashboards.grafana.variables import label, labels

_OF = 'name="$name", model=~"$model", version=~"$version"'
_CLIENTS = 'name="$name", model=~"$model"'
_CODES = {"2..": GREEN, "4..": ORANGE, "5..": RED}


def page() -> Page:
    return Page(
        uid="lockgate-serving",
        title="Lockgate: serving",
        description="What the replicas of each model version answer, how fast, and in which batches.",
        lines=(
            line(3, *_numbers()),
            line(8, _by_code(), _latency(), _heat()),
            line(8, _engine(), _batches(), _rows()),
            line(7, _clients(), _client_latency(), _active()),
            line(7, _captured(), _not_captured(), _replicas()),
            line(5, _artifacts()),
            *machine.lines(),
        ),
        variables=(
            label("name", "Pipeline", "lockgate_service_requests_total"),
            labels("model", "Model", 'lockgate_service_requests_total{name="$name"}'),
            labels("version", "Version", 'lockgate_service_requests_total{name="$name", model=~"$model"}'),
        ),
    )


def _numbers() -> tuple[stat.Panel, ...]:
    served, failed = "lockgate_service_requests_total", f'{_OF}, code=~"5.."'
    ratio = f"sum(rate({served}{{{failed}}}{EVERY})) / (sum(rate({served}{{{_OF}}}{EVERY})) > 0)"
    dropped = " + ".join(
        f"sum(increase(lockgate_service_capture_{what}_total{{{_OF}}}[$__range]))" for what in ("dropped", "failures")
    )
    hurts = thresholds(steps("text", (0.001, ORANGE), (0.01, RED)))
    return (
        number("Replicas", "That Prometheus reads.", now(f"count(count by (replica) ({served}{{{_OF}}}))")),
        number("Requests", "Answered by all of them.", now(f"sum(rate({served}{{{_OF}}}{EVERY}))")).unit("reqps"),
        number("Answered 5xx", "Share of the requests.", now(ratio)).unit("percentunit").thresholds(hurts),
        number("p50", "Half of the requests took less, inside the replica.", now(_all(0.5))).unit("s"),
        number("p99", "99 % of the requests took less, inside the replica.", now(_all(0.99))).unit("s"),
        number("Not captured, in all", "Requests that could not be kept, in the time shown.", now(dropped))
        .decimals(0)
        .thresholds(thresholds(steps("text", (1, ORANGE)))),
    )


def _all(q: float) -> str:
    rates = f"sum by (le) (rate(lockgate_service_request_seconds_bucket{{{_OF}}}{EVERY}))"
    return f"histogram_quantile({q:g}, {rates})"


def _by_code() -> timeseries.Panel:
    about = "Requests per second by the status that the replica answered."
    panel = stacked(
        graph("Requests by code", about, Query(rate("lockgate_service_requests_total", _OF, "code"), "{{code}}"))
    )
    for code, colour in _CODES.items():
        panel = panel.override_by_regexp(f"/^{code}$/", [fixed(colour)])
    return panel.unit("reqps").min(0)


def _latency() -> timeseries.Panel:
    about = "From the request's head to its answer, inside the replica: half and 99 % of the requests took less."
    return _quantiles("Latency by version", about, "lockgate_service_request_seconds").unit("s")


def _engine() -> timeseries.Panel:
    about = "Waiting for the engine and its call: half and 99 % took less. What is more than this, the latency adds."
    return _quantiles("Engine", about, "lockgate_service_engine_seconds").unit("s")


def _quantiles(title: str, about: str, histogram: str) -> timeseries.Panel:
    by = "variant, version"
    panel = graph(
        title,
        about,
        *(
            Query(quantile(q, histogram, _OF, by), f"{{{{variant}}}} {{{{version}}}}, p{q * 100:g}")
            for q in (0.5, 0.99)
        ),
    )
    for side, colour in (("stable", SKY), ("candidate", ORANGE)):
        panel = panel.override_by_regexp(f"/^{side} /", [fixed(colour)])
    return panel.override_by_regexp("/p99$/", [dashed(), column("custom.fillOpacity", 0)]).min(0)


def _heat() -> heatmap.Panel:
    about = "How many requests took how long, inside the replicas."
    counted = f"sum by (le) (increase(lockgate_service_request_seconds_bucket{{{_OF}}}{EVERY}))"
    return heat("Latency, all requests", about, buckets(counted)).y_axis(YAxisConfig().unit("s"))


def _batches() -> heatmap.Panel:
    about = "How many engine calls had how many rows."
    counted = f"sum by (le) (increase(lockgate_service_batch_rows_bucket{{{_OF}}}{EVERY}))"
    return heat("Rows in one engine call", about, buckets(counted)).y_axis(YAxisConfig().unit("short"))


def _rows() -> timeseries.Panel:
    shown = Query(rate("lockgate_service_rows_total", _OF, "variant, version"), "{{variant}} {{version}}")
    panel = graph("Rows", "Rows answered per second: a request may have many.", shown).unit("rows/s").min(0)
    panel = panel.override_by_regexp("/^stable /", [fixed(SKY)])
    return panel.override_by_regexp("/^candidate /", [fixed(ORANGE)])


def _clients() -> timeseries.Panel:
    counted = rate("envoy_http_downstream_rq_xx", _CLIENTS, "envoy_response_code_class")
    about = "Answers per second that clients got from the router, after failover."
    panel = stacked(graph("Clients' answers", about, Query(counted, "{{envoy_response_code_class}}xx")))
    for kind, colour in (("2", GREEN), ("4", ORANGE), ("5", RED)):
        panel = panel.override_by_name(f"{kind}xx", [fixed(colour)])
    return panel.unit("reqps").min(0)


def _client_latency() -> timeseries.Panel:
    about = "What clients waited for an answer, through the router."
    waited = {q: f"{quantile(q, 'envoy_http_downstream_rq_time', _CLIENTS, 'name')} / 1000" for q in (0.5, 0.95, 0.99)}
    panel = graph("Clients' latency", about, *(Query(expr, f"p{q * 100:g}") for q, expr in waited.items()))
    for name, colour in (("p50", SKY), ("p95", BLUE), ("p99", PURPLE)):
        panel = panel.override_by_name(name, [fixed(colour)])
    return panel.unit("s").min(0)


def _active() -> timeseries.Panel:
    about = "Requests that are being answered, by variant, and connections of clients."
    busy = f'sum by (variant) (envoy_cluster_upstream_rq_active{{{_OF}, traffic="live"}})'
    open_ = f"sum(envoy_http_downstream_cx_active{{{_CLIENTS}}})"
    panel = graph("Under way", about, Query(busy, "{{variant}}"), Query(open_, "connections"))
    return by_variant(panel.unit("short").min(0)).override_by_name("connections", [fixed(GREY), dashed()])


def _captured() -> timeseries.Panel:
    about = "Traffic that is kept for drift, rehearsals and comparisons."
    panel = graph(
        "Captured",
        about,
        Query(f"sum(rate(lockgate_service_captured_rows_total{{{_OF}}}{EVERY}))", "rows"),
        Query(f"sum(rate(lockgate_service_captured_bytes_total{{{_OF}}}{EVERY}))", "bytes"),
    )
    right = [column("unit", "Bps"), column("custom.axisPlacement", "right"), fixed(ORANGE)]
    return panel.unit("rows/s").min(0).override_by_name("rows", [fixed(SKY)]).override_by_name("bytes", right)


def _not_captured() -> timeseries.Panel:
    about = "Requests that were not kept because the disk was too slow, and writes that failed."
    panel = graph(
        "Not captured",
        about,
        Query(f"sum(rate(lockgate_service_capture_dropped_total{{{_OF}}}{EVERY}))", "dropped"),
        Query(f"sum(rate(lockgate_service_capture_failures_total{{{_OF}}}{EVERY}))", "failed writes"),
    )
    panel = panel.override_by_name("dropped", [fixed(ORANGE)]).override_by_name("failed writes", [fixed(RED), dashed()])
    return panel.unit("cps").min(0).axis_soft_max(1)


def _replicas() -> timeseries.Panel:
    shown = Query(rate("lockgate_service_requests_total", _OF, "replica, variant"), "{{variant}} {{replica}}")
    panel = graph("Requests by replica", "How evenly the replicas of a variant are loaded.", shown).unit("reqps").min(0)
    panel = panel.override_by_regexp("/^stable /", [shades(SKY)]).fill_opacity(0)
    return panel.override_by_regexp("/^candidate /", [shades(ORANGE)])


def _artifacts() -> table.Panel:
    about = "What each variant of the open rollout is compiled to, how fast that was when it was chosen, and how exact."
    one = 'batch="1"'
    panel = listing(
        "Artifacts",
        about,
        rows('max by (variant, version, target, precision) (lockgate_artifact_info{name="$name"})'),
        rows(f'max by (variant) (lockgate_artifact_latency_seconds{{name="$name", {one}, quantile="0.5"}})'),
        rows(f'max by (variant) (lockgate_artifact_latency_seconds{{name="$name", {one}, quantile="0.99"}})'),
        rows('max by (variant) (lockgate_parity_max_abs_error{name="$name"})'),
        rows('max by (variant) (lockgate_parity_agreement_ratio{name="$name"})'),
        rows('max by (variant) (lockgate_compile_seconds{name="$name"})'),
    )
    names = ("p50, one row", "p99, one row", "Largest difference", "Same answers", "Compiled in")
    columns = {"variant": "Variant", "version": "Version", "target": "Target", "precision": "Precision"}
    columns |= {f"Value #{letter}": name for letter, name in zip("BCDEF", names, strict=True)}
    panel = joined(panel, columns, hide=["Value #A"])
    for name, unit in zip(names, ("s", "s", "sci", "percentunit", "s"), strict=True):
        panel = panel.override_by_name(name, [column("unit", unit)])
    return panel.sort_by([TableSortByFieldState().display_name("Variant").desc(desc=True)])

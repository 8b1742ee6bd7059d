"""What language models say per token, and the GPUs of this machine: lines of the dashboard of serving."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries

from lockgate.dashboards.grafana.layout import Line, line
from lockgate.dashboards.grafana.look import GREY, ORANGE, PURPLE, SKY, dashed, fixed
from lockgate.dashboards.grafana.panels import column, graph
from lockgate.dashboards.grafana.promql import quantile, rate
from lockgate.dashboards.grafana.targets import NAME, Query


def lines() -> tuple[Line, ...]:
    return (line(6, _first(), _tokens(), _busy(), _memory(), _warm(), widths=(5, 4, 5, 5, 5)),)


def _first() -> timeseries.Panel:
    about = (
        "From a request to the first token: half and 99 % took less. Empty without a server of a language model:"
        " `lockgate observe --model-server`."
    )
    of = {q: quantile(q, "lockgate_time_to_first_token_seconds", NAME, "name") for q in (0.5, 0.99)}
    panel = graph("Time to first token", about, *(Query(expr, f"p{q * 100:g}") for q, expr in of.items()))
    panel = panel.override_by_name("p50", [fixed(SKY)]).override_by_name("p99", [fixed(PURPLE)])
    return panel.unit("s").min(0)


def _tokens() -> timeseries.Panel:
    about = "Tokens per second that servers of language models made. Empty without one."
    panel = graph("Tokens", about, Query(rate("lockgate_output_tokens_total", NAME, "replica"), "{{replica}}"))
    return panel.unit("tokens/s").min(0)


def _busy() -> timeseries.Panel:
    about = "Share of the time in which a kernel ran. Empty where NVIDIA's driver tells of no GPU."
    panel = graph("GPU", about, Query("lockgate_gpu_utilization_ratio", "GPU {{gpu}}, {{model_name}}"))
    return panel.unit("percentunit").min(0).max(1)


def _memory() -> timeseries.Panel:
    about = "In use by whomever, and by the replicas of this pipeline; and what there is. Empty without a GPU."
    panel = graph(
        "GPU memory",
        about,
        Query("lockgate_gpu_memory_used_bytes", "GPU {{gpu}}"),
        Query("lockgate_gpu_memory_total_bytes", "all of GPU {{gpu}}"),
        Query(f"lockgate_gpu_process_memory_bytes{{{NAME}}}", "{{replica}} on GPU {{gpu}}"),
    )
    return panel.unit("bytes").min(0).override_by_query("B", [fixed(GREY), dashed()])


def _warm() -> timeseries.Panel:
    about = "Of the chip, and what it draws. Empty without a GPU."
    panel = graph(
        "GPU temperature and power",
        about,
        Query("lockgate_gpu_temperature_celsius", "GPU {{gpu}}"),
        Query("lockgate_gpu_power_watts", "GPU {{gpu}}, power"),
    )
    right = [column("unit", "watt"), column("custom.axisPlacement", "right"), fixed(ORANGE)]
    return panel.unit("celsius").min(0).override_by_query("A", [fixed(SKY)]).override_by_query("B", right)

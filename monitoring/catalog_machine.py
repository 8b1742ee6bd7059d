"""The series of this machine's GPUs, and those that servers of language models have."""

from __future__ import annotations

from lockgate.monitoring.series import Series, gauge

_CARD = ("gpu", "uuid", "model_name")
GPU = (
    gauge("lockgate_gpu_utilization_ratio", "0 to 1", _CARD, "Share of the time in which a kernel ran."),
    gauge("lockgate_gpu_memory_used_bytes", "bytes", _CARD, "Memory of the GPU in use, by whomever."),
    gauge("lockgate_gpu_memory_total_bytes", "bytes", _CARD, "Memory that it has."),
    gauge("lockgate_gpu_temperature_celsius", "degrees Celsius", _CARD, "Of the chip."),
    gauge("lockgate_gpu_power_watts", "watts", _CARD, "What it draws."),
    gauge(
        "lockgate_gpu_process_memory_bytes",
        "bytes",
        ("gpu", "uuid", "name", "replica"),
        "Memory of the GPU in use by a replica, where the driver tells it.",
    ),
)

_SERVER = ("name", "replica")
TOKENS = (
    Series(
        "lockgate_time_to_first_token_seconds",
        "histogram",
        "seconds",
        _SERVER,
        "From a request to the first token of its answer, as a server of a language model counts it.",
        "replica",
    ),
    Series(
        "lockgate_output_tokens_total",
        "counter",
        "tokens",
        _SERVER,
        "Tokens that a server of a language model made.",
        "replica",
    ),
)
"""Renamed when Prometheus scrapes; they keep the labels of the server's own beside these."""

"""A story's counters as samples of the router and of the replicas."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from lockgate.dashboards.grafana.sample.counters import Counters, Key
from lockgate.dashboards.grafana.sample.moment import Sample, sample
from lockgate.dashboards.grafana.sample.stories import Story

_RQ = "envoy_cluster_upstream_rq"
_PLAIN = ("completed", "retry_success", "timeout", "max_duration_reached", "pending_overflow")
_HISTOGRAMS = {"request": "request_seconds", "engine": "engine_seconds", "batch": "batch_rows"}


def counted(story: Story, counters: Counters) -> Iterator[Sample]:
    yield from _routed(story, counters)
    yield from _clients(story, counters)
    yield from _served(story, counters)
    yield from _spoken(story, counters)


def _routed(story: Story, counters: Counters) -> Iterator[Sample]:
    for (name, variant, traffic), value in counters.counts.items():
        of = {**_version(story, variant), "variant": variant, "traffic": traffic}
        if name in _PLAIN:
            yield sample(f"{_RQ}_{name}", value, **of)
        elif name in ("2xx", "5xx") and value:
            yield sample(f"{_RQ}_xx", value, **of, envoy_response_code_class=name[0])
        if name == "completed":
            yield sample(f"{_RQ}_active", 1 + value % 3, **of)
            yield sample("envoy_cluster_membership_total", 2, **of)
    for key in counters.buckets:
        if key[0] == "time":
            of = {**_version(story, key[1]), "variant": key[1], "traffic": key[2]}
            yield from _histogram(f"{_RQ}_time", counters, key, of)


def _clients(story: Story, counters: Counters) -> Iterator[Sample]:
    of = {"name": story.name, "model": story.model}
    for kind in "245":
        value = counters.counts[f"clients {kind}xx", "", ""]
        yield sample("envoy_http_downstream_rq_xx", value, **of, envoy_response_code_class=kind)
    yield from _histogram("envoy_http_downstream_rq_time", counters, ("clients", "", ""), of)
    yield sample("envoy_http_downstream_rq_active", 3, **of)
    yield sample("envoy_http_downstream_cx_active", 24, **of)
    yield sample("envoy_server_uptime", 7200, **of)


def _served(story: Story, counters: Counters) -> Iterator[Sample]:
    for (name, variant, replica), value in counters.counts.items():
        if not replica.isdigit():
            continue
        of = {**_version(story, variant), "variant": variant, "replica": _replica(variant, replica)}
        if name.isdigit():
            yield sample("lockgate_service_requests_total", value, **of, code=name)
        else:
            yield sample(f"lockgate_service_{name}_total", value, **of)
    for key in counters.buckets:
        if key[0] in _HISTOGRAMS:
            of = {**_version(story, key[1]), "variant": key[1], "replica": _replica(key[1], key[2])}
            yield from _histogram(f"lockgate_service_{_HISTOGRAMS[key[0]]}", counters, key, of)


def _spoken(story: Story, counters: Counters) -> Iterator[Sample]:
    """Tokens, as if a server of a language model stood behind it: one in each row."""
    of = {"name": story.name, "replica": "127.0.0.1:8000"}
    key = ("request", "stable", "0")
    yield sample("lockgate_output_tokens_total", 180 * counters.buckets[key][math.inf], **of)
    yield from _histogram("lockgate_time_to_first_token_seconds", counters, key, of)


def _version(story: Story, variant: str) -> dict[str, str]:
    side = story.candidate if variant == "candidate" else story.stable
    return {"name": story.name, "model": story.model, "version": side.version}


def _replica(variant: str, number: str) -> str:
    return f"127.0.0.1:{41_000 + 2 * (variant == 'candidate') + int(number)}"


def _histogram(name: str, counters: Counters, key: Key, of: dict[str, str]) -> Iterator[Sample]:
    buckets: Counter[float] = counters.buckets[key]
    for edge, value in buckets.items():
        yield sample(f"{name}_bucket", value, **of, le="+Inf" if math.isinf(edge) else f"{edge:g}")
    yield sample(f"{name}_sum", counters.sums[key], **of)
    yield sample(f"{name}_count", buckets[math.inf], **of)

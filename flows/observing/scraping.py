"""Prometheus' configuration: whom it asks, and how everything gets the same labels.

Envoy counts by cluster and knows no variants; its clusters become `variant` and `traffic` here. Only what the catalog
has is kept: Envoy alone would add 1,500 series. Every path is relative to the file, so that the folder can be mounted
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lockgate.monitoring.catalog import JOBS, Source, of
from lockgate.rollout.envoy.bootstrap import latency_buckets
from lockgate.rollout.envoy.clusters import (
    CANDIDATE,
    CANDIDATE_FB,
    ECHO,
    FORCED_CANDIDATE,
    FORCED_STABLE,
    SHADOW,
    STABLE,
)
from lockgate.rollout.envoy.listeners import INGRESS
from lockgate.rollout.envoy.once import ONCE
from lockgate.rollout.envoy.others import NAME, forced, holding, with_stable

TARGETS, RULES = "targets", "rules"
"""Folders beside the configuration."""
VERSION_OF = "version_of_"
"""Labels of a router's target: which version each side is. `relabelled` makes one `version` of them."""
_REREAD = "10s"
_LIMITED = "envoy_local_http_ratelimit_prefix"
_CLUSTER, _MANAGER, _KEPT = "envoy_cluster_name", "envoy_http_conn_manager_prefix", "__tmp_kept"
_CLUSTERS = {  # as regular expressions, for their twins too
    STABLE: (STABLE, "live"),
    f"(?:{CANDIDATE}|{CANDIDATE_FB})": (CANDIDATE, "live"),
    SHADOW: (CANDIDATE, "shadow"),
    ECHO: (STABLE, "echo"),
    FORCED_STABLE: (STABLE, "forced"),
    FORCED_CANDIDATE: (CANDIDATE, "forced"),
    f"{holding(f'({NAME})')}(?:_fb)?": ("$1", "live"),
    forced(f"({NAME})"): ("$1", "forced"),
}
Relabelling = list[dict[str, Any]]


def configuration(exporter: str, every: float, alertmanagers: Sequence[str] = ()) -> dict[str, Any]:
    """`exporter`, `alertmanagers`: addresses as HOST:PORT. `every`: seconds between two scrapes."""
    alerting = {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]}
    return {
        "global": {"scrape_interval": duration(every), "evaluation_interval": duration(every)},
        "rule_files": [f"{RULES}/*.yml"],
        **({"alerting": alerting} if alertmanagers else {}),
        "scrape_configs": [
            {
                "job_name": JOBS["exporter"],
                "honor_labels": True,
                "static_configs": [{"targets": [exporter]}],
                "metric_relabel_configs": [_keep("exporter")],
            },
            _followed("envoy", relabelled()),
            _followed("replica", [*_tokens(), _keep("replica")]),
        ],
    }


def duration(seconds: float) -> str:
    """As Prometheus reads it: it knows no fractions."""
    return f"{seconds:.0f}s" if seconds == round(seconds) else f"{seconds * 1000:.0f}ms"


def _followed(source: Source, relabelling: Relabelling) -> dict[str, Any]:
    return {
        "job_name": JOBS[source],
        # Model and version are what a replica says that it serves.
        **({"honor_labels": True} if source == "replica" else {}),
        "file_sd_configs": [{"files": [f"{TARGETS}/{source}.json"], "refresh_interval": _REREAD}],
        "metric_relabel_configs": relabelling,
    }


def relabelled() -> Relabelling:
    """For what a router serves."""
    return [
        *_kept(),
        *_variants(),
        *_versions(),
        *_edges(),
        _without(_CLUSTER, _MANAGER, _LIMITED, _KEPT, f"{VERSION_OF}.+"),
    ]


_SERVERS = "(?:vllm|sglang)"
_TOKENS = {
    f"{_SERVERS}:time_to_first_token_seconds(_bucket|_sum|_count)": "lockgate_time_to_first_token_seconds${1}",
    f"{_SERVERS}:generation_tokens_total|tgi_request_generated_tokens_sum": "lockgate_output_tokens_total",
}
"""As servers of language models call them: vLLM, SGLang, and Text Generation Inference, which tells no first token."""


def _tokens() -> Relabelling:
    return [
        {"source_labels": ["__name__"], "regex": theirs, "target_label": "__name__", "replacement": ours}
        for theirs, ours in _TOKENS.items()
    ]


def _keep(source: Source) -> dict[str, Any]:
    return {"source_labels": ["__name__"], "regex": _names(source), "action": "keep"}


def _names(source: Source) -> str:
    return "|".join(sample for series in of(source) for sample in series.samples)


def _kept() -> Relabelling:
    """Of the sides, the replicas; of what is routed to, everything else; of the listeners, the clients'."""
    routed = [STABLE, CANDIDATE_FB, SHADOW, ECHO, FORCED_STABLE, FORCED_CANDIDATE, with_stable(NAME), forced(NAME)]
    held = [STABLE, CANDIDATE, holding(NAME)]
    cluster = [
        f"envoy_cluster_upstream_.+;(?:{'|'.join(routed)})(?:{ONCE})?;",
        f"envoy_cluster_membership_.+;(?:{'|'.join(held)});",
    ]
    marks = [*cluster, f"envoy_http_.+;;{INGRESS}", "envoy_http_local_rate_limit_.+;;", "envoy_server_.+;;"]
    labels = ["__name__", _CLUSTER, _MANAGER]
    return [
        _keep("envoy"),
        {"source_labels": labels, "regex": "|".join(marks), "target_label": _KEPT, "replacement": "yes"},
        {"source_labels": [_KEPT], "regex": "yes", "action": "keep"},
    ]


def _variants() -> Relabelling:
    """Requests that are not sent a second time have series of their own, with one label more."""
    return [
        {"source_labels": [_CLUSTER], "regex": f"(?:{cluster})(?:{ONCE})?", "target_label": label, "replacement": value}
        for cluster, values in _CLUSTERS.items()
        for label, value in zip(("variant", "traffic"), values, strict=True)
    ] + [{"source_labels": [_CLUSTER], "regex": f".+{ONCE}", "target_label": "sent", "replacement": "once"}]


def _versions() -> Relabelling:
    return [
        {
            "source_labels": ["variant", f"{VERSION_OF}{side}"],
            "regex": f"{side};(.+)",
            "target_label": "version",
            "replacement": "$1",
        }
        for side in (STABLE, CANDIDATE)
    ]


def _edges() -> Relabelling:
    """Envoy names a bucket by the last number that it takes in: its 19 holds all that took less than 20 ms.

    From the largest on, so that no name becomes another before its own turn. Prometheus 3 writes 19 as 19.0.
    """
    timed = "envoy_(?:cluster_upstream|http_downstream)_rq_time_bucket"
    return [
        {
            "source_labels": ["__name__", "le"],
            "regex": f"{timed};{f'{name:g}'.replace('.', '[.]')}(?:[.]0)?",
            "target_label": "le",
            "replacement": f"{edge:g}",
        }
        for name, edge in sorted(latency_buckets().items(), reverse=True)
    ]


def _without(*labels: str) -> dict[str, Any]:
    return {"regex": "|".join(labels), "action": "labeldrop"}

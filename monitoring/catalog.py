"""Every series that Lockgate shows, by the name that it has in Prometheus. What draws or alerts takes it from here.

Labels that mean the same everywhere: `name` is the pipeline's, `model` the registered model, `version` its version,
`variant` is stable, candidate or the name of another challenger. `traffic` says whose requests are counted: `live`
ones of clients, `shadow` (copies to the candidate), `echo` (copies to stable) and `forced` (a tester's).

Series of rollouts describe the pipeline's open rollout, or the last one where none is open.
"""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.monitoring.catalog_machine import GPU, TOKENS
from lockgate.monitoring.catalog_performance import PERFORMANCE
from lockgate.monitoring.series import Kind, Series, Source, gauge

__all__ = ["CATALOG", "JOBS", "MOST_FEATURES", "OUTCOMES", "PHASES", "SHARED_LABELS", "Kind", "Series", "Source", "of"]

SHARED_LABELS = ("name", "model", "version", "variant", "traffic")
"""That all sources have in common."""
OUTCOMES = {"undecided": 0.0, "pass": 1.0, "error": 2.0, "fail": 3.0}
"""A gate's verdict as a number."""
PHASES = (
    *("pending", "building", "progressing", "waiting", "promoting", "probation"),
    *("succeeded", "rolling_back", "rolled_back", "failed"),
)
MOST_FEATURES = 60
"""Features of one pipeline whose drift is shown, those that drift first."""
JOBS = {"exporter": "lockgate-exporter", "envoy": "lockgate-envoy", "replica": "lockgate-replica"}
"""How Prometheus calls what it scrapes: `up{job="lockgate-replica"}`."""


_NAME = ("name",)
_SIDE = ("name", "variant")
_GATE = ("name", "variant", "gate", "metric")
_ASKED = ("name", "role")
_FEATURE = ("name", "feature")
_ROUTED = ("name", "model", "version", "variant", "traffic")
_CLIENTS = ("name", "model")
_REPLICA = ("name", "model", "version", "variant", "replica")
_RATED = ("name", "variant", "traffic")


_ROLLOUT = (
    gauge(
        "lockgate_rollout_info",
        "1",
        ("name", "model", "rollout", "stable_version", "candidate_version"),
        "Which rollout it is, and of what.",
    ),
    gauge("lockgate_rollout_open", "0 or 1", _NAME, "Whether a rollout is open."),
    gauge("lockgate_rollout_phase", "0 or 1", ("name", "phase"), "1 for the phase that the rollout is in."),
    gauge("lockgate_rollout_step", "number", _NAME, "The present step, from 1; 0 before the first one."),
    gauge("lockgate_rollout_steps", "number", _NAME, "How many steps the rollout has."),
    gauge("lockgate_rollout_step_info", "1", ("name", "kind", "step"), "The present step in a few words."),
    gauge("lockgate_rollout_weight_ratio", "0 to 1", _SIDE, "Share of the live requests that a variant answers."),
    gauge("lockgate_rollout_mirror_ratio", "0 to 1", _NAME, "Share of the live requests copied to the candidate."),
    gauge("lockgate_rollout_opened_timestamp_seconds", "unix seconds", _NAME, "When the rollout was opened."),
    gauge("lockgate_rollout_closed_timestamp_seconds", "unix seconds", _NAME, "When it was closed; not while open."),
    gauge(
        "lockgate_rollout_step_since_timestamp_seconds",
        "unix seconds",
        _NAME,
        "When the present step began; time paused or held is added.",
    ),
    gauge("lockgate_rollout_step_timeout_seconds", "seconds", _NAME, "How long the present step may last."),
    gauge("lockgate_rollout_paused", "0 or 1", _NAME, "Whether a person paused it."),
    gauge("lockgate_rollout_held", "0 or 1", _NAME, "Whether drift of the inputs holds it."),
    gauge("lockgate_rollout_step_requests", "requests", _SIDE, "Requests that a variant answered in the step."),
    Series("lockgate_rollouts_total", "counter", "rollouts", ("name", "outcome"), "Rollouts that ended, by phase."),
    gauge(
        "lockgate_rollout_requests_to_decision",
        "requests",
        _NAME,
        "Requests that the candidate answered until the last rollout that ended was decided.",
    ),
)

_GATES = (
    gauge("lockgate_gate_outcome", "0 to 3", _GATE, "Its verdict: 0 undecided, 1 pass, 2 error, 3 fail."),
    gauge("lockgate_gate_candidate", "the metric's", _GATE, "What was measured of the variant that is tried."),
    gauge("lockgate_gate_stable", "the metric's", _GATE, "What was measured of stable."),
    gauge("lockgate_gate_limit", "the metric's", _GATE, "What the candidate must not exceed."),
    gauge("lockgate_gate_harm", "e-value", _GATE, "Evidence that the limit is exceeded."),
    gauge("lockgate_gate_fails_from", "e-value", _GATE, "The gate fails when harm reaches this."),
    gauge("lockgate_gate_safety", "e-value", _GATE, "Evidence that the limit is kept."),
    gauge("lockgate_gate_passes_from", "e-value", _GATE, "The gate passes when safety reaches this."),
    gauge("lockgate_gate_effect_ratio", "ratio", _GATE, "Of a business metric: candidate over stable, less 1."),
    gauge("lockgate_gate_effect_lowest_ratio", "ratio", _GATE, "The effect is at least this, but for alpha."),
    gauge("lockgate_gate_effect_highest_ratio", "ratio", _GATE, "The effect is at most this, but for alpha."),
)

_CONTROL = (
    gauge("lockgate_controller_driven", "0 or 1", _NAME, "Whether somebody drives the rollout."),
    gauge(
        "lockgate_controller_lease_timestamp_seconds",
        "unix seconds",
        _NAME,
        "Until when whoever drives it holds the lease; not while nobody does.",
    ),
    Series(
        "lockgate_restarts_total",
        "counter",
        "restarts",
        ("name", "part"),
        "Starts of what had died, by part: router, feedback, or the side whose replica it was.",
    ),
    gauge("lockgate_approval_pending", "0 or 1", _ASKED, "Whether people are asked to approve."),
    gauge("lockgate_approval_asked_timestamp_seconds", "unix seconds", _ASKED, "Since when they are asked."),
    gauge("lockgate_approval_expires_timestamp_seconds", "unix seconds", _ASKED, "When what was asked is void."),
    gauge("lockgate_approval_approvals", "people", _ASKED, "How many have approved."),
    gauge("lockgate_approval_required", "people", _ASKED, "How many must."),
)

_DRIFT = (
    gauge("lockgate_drift_psi", "PSI", _FEATURE, "Distance of a live feature from the reference, less chance."),
    gauge("lockgate_drift_missing_ratio", "0 to 1", _FEATURE, "Share of the live rows without a value."),
    gauge("lockgate_drift_drifting", "0 or 1", _FEATURE, "Whether the feature drifts."),
    gauge("lockgate_drift_detected", "0 or 1", _NAME, "Whether the inputs as a whole drift."),
    gauge("lockgate_drift_share_ratio", "0 to 1", _NAME, "Share of the inputs that drift."),
    gauge("lockgate_drift_share_limit_ratio", "0 to 1", _NAME, "The inputs drift when this share of them does."),
    gauge("lockgate_drift_threshold", "PSI", _NAME, "A feature drifts when its PSI is larger, and proven."),
    gauge("lockgate_drift_rows", "rows", _NAME, "Live rows that were compared."),
    gauge("lockgate_drift_compared_timestamp_seconds", "unix seconds", _NAME, "When the latest of them was answered."),
)

_ARTIFACT = (
    gauge(
        "lockgate_artifact_info",
        "1",
        ("name", "variant", "version", "target", "precision"),
        "What each variant is compiled to.",
    ),
    gauge("lockgate_parity_max_abs_error", "the output's", _SIDE, "Largest difference from the source model."),
    gauge("lockgate_parity_agreement_ratio", "0 to 1", _SIDE, "Share of rows with the source model's label."),
    gauge("lockgate_compile_seconds", "seconds", _SIDE, "How long the artifact took to compile, where known."),
    gauge(
        "lockgate_artifact_latency_seconds",
        "seconds",
        ("name", "variant", "batch", "quantile"),
        "Of one call of the artifact as it was measured when it was chosen, where known.",
    ),
)

_EXPORTER = (
    gauge("lockgate_store_up", "0 or 1", (), "Whether the store answered this scrape."),
    Series(
        "lockgate_exporter_scrape_errors_total",
        "counter",
        "errors",
        (),
        "Rollouts and scrapes that could not be read; the exporter's log says why.",
    ),
    gauge("lockgate_exporter_collect_seconds", "seconds", (), "How long reading the store took."),
)


def _envoy(name: str, kind: Kind, unit: str, labels: tuple[str, ...], help_: str) -> Series:
    return Series(name, kind, unit, labels, help_, "envoy")


_CLASS = "envoy_response_code_class"
_ENVOY = (
    _envoy("envoy_cluster_upstream_rq_completed", "counter", "requests", _ROUTED, "Requests that ended."),
    _envoy(
        "envoy_cluster_upstream_rq_xx",
        "counter",
        "requests",
        (*_ROUTED, _CLASS),
        "The same by the class of the status that was answered, after failover; a class comes with its first request.",
    ),
    _envoy(
        "envoy_cluster_upstream_rq_retry_success",
        "counter",
        "requests",
        _ROUTED,
        "Requests that the variant failed and a second attempt (of a challenger: stable) answered.",
    ),
    _envoy("envoy_cluster_upstream_rq_timeout", "counter", "requests", _ROUTED, "Requests that nobody answered."),
    _envoy(
        "envoy_cluster_upstream_rq_max_duration_reached",
        "counter",
        "requests",
        _ROUTED,
        "Of copies: those that were not answered by the deadline.",
    ),
    _envoy(
        "envoy_cluster_upstream_rq_pending_overflow", "counter", "requests", _ROUTED, "Copies shed as too many at once."
    ),
    _envoy("envoy_cluster_upstream_rq_active", "gauge", "requests", _ROUTED, "Requests under way."),
    _envoy(
        "envoy_cluster_upstream_rq_time",
        "histogram",
        "milliseconds",
        _ROUTED,
        "From the end of the request to the end of the answer; `le` is the upper edge, as relabelling corrects it.",
    ),
    _envoy("envoy_cluster_membership_total", "gauge", "replicas", _ROUTED, "Replicas that the router sends to."),
    _envoy(
        "envoy_http_downstream_rq_xx", "counter", "requests", (*_CLIENTS, _CLASS), "Answers that clients got, by class."
    ),
    _envoy("envoy_http_downstream_rq_time", "histogram", "milliseconds", _CLIENTS, "Time that clients waited."),
    _envoy("envoy_http_downstream_rq_active", "gauge", "requests", _CLIENTS, "Clients' requests under way."),
    _envoy("envoy_http_downstream_cx_active", "gauge", "connections", _CLIENTS, "Clients' connections."),
    _envoy(
        "envoy_http_api_key_auth_unauthorized", "counter", "requests", _CLIENTS, "Without a known key: answered 401."
    ),
    _envoy("envoy_http_api_key_auth_forbidden", "counter", "requests", _CLIENTS, "A variant forced by others: 403."),
    _envoy(
        "envoy_http_local_rate_limit_rate_limited", "counter", "requests", _CLIENTS, "Beyond a limit: answered 429."
    ),
    _envoy("envoy_server_uptime", "gauge", "seconds", _CLIENTS, "Since the router was started."),
)


def _replica(name: str, kind: Kind, unit: str, help_: str, *more: str) -> Series:
    return Series(name, kind, unit, (*_REPLICA, *more), help_, "replica")


_REPLICAS = (
    _replica("lockgate_service_requests_total", "counter", "requests", "Requests to the model by status.", "code"),
    _replica("lockgate_service_rows_total", "counter", "rows", "Rows answered."),
    _replica(
        "lockgate_service_request_seconds", "histogram", "seconds", "From the request's head to its answer, inside."
    ),
    _replica("lockgate_service_engine_seconds", "histogram", "seconds", "Waiting for the engine, and its call."),
    _replica("lockgate_service_batch_rows", "histogram", "rows", "Rows in one engine call."),
    _replica("lockgate_service_captured_rows_total", "counter", "rows", "Rows kept as captured traffic."),
    _replica("lockgate_service_captured_bytes_total", "counter", "bytes", "Captured traffic written."),
    _replica("lockgate_service_capture_dropped_total", "counter", "requests", "Requests that could not be kept."),
    _replica("lockgate_service_capture_failures_total", "counter", "writes", "Writes of captured traffic that failed."),
)


def _rule(name: str, unit: str, labels: tuple[str, ...], help_: str) -> Series:
    return Series(name, "gauge", unit, labels, help_, "rule")


_FAILED = "a challenger's that stable rescued are errors too"
_RULES = (
    _rule("lockgate:requests:rate5m", "requests/s", _RATED, "Requests per second."),
    _rule("lockgate:errors:rate5m", "requests/s", _RATED, f"Errors per second; {_FAILED}."),
    _rule("lockgate:error_ratio:rate5m", "0 to 1", _RATED, f"Share of the requests that failed; {_FAILED}."),
    _rule("lockgate:latency_seconds:p50_5m", "seconds", _RATED, "Half of the requests took less."),
    _rule("lockgate:latency_seconds:p95_5m", "seconds", _RATED, "95 % of the requests took less."),
    _rule("lockgate:latency_seconds:p99_5m", "seconds", _RATED, "99 % of the requests took less."),
    _rule("lockgate:clients:rate5m", "requests/s", _NAME, "Requests of clients per second."),
    *(
        _rule(f"lockgate:client_error_ratio:rate{window}", "0 to 1", _NAME, f"Share that clients got as 5xx, {window}.")
        for window in ("5m", "30m", "1h", "6h")
    ),
)

CATALOG: Mapping[str, Series] = {
    series.name: series
    for series in (
        *(*_ROLLOUT, *_GATES, *_CONTROL, *_DRIFT, *PERFORMANCE, *_ARTIFACT, *GPU, *_EXPORTER),
        *(*_ENVOY, *_REPLICAS, *TOKENS, *_RULES),
    )
}


def of(source: Source) -> tuple[Series, ...]:
    """The series of one source, in the catalog's order."""
    return tuple(series for series in CATALOG.values() if series.source == source)

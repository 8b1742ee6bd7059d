"""Expressions that several panels share. Names come from `lockgate.monitoring.catalog`; a test compares them."""

from __future__ import annotations

from lockgate.monitoring.catalog import PHASES

_RQ = "envoy_cluster_upstream_rq"
EVERY = "[$__rate_interval]"
FAILED = 'envoy_response_code_class="5"'
_COPIES = 'traffic="shadow"'
_COPIED = ("completed", "pending_overflow", "max_duration_reached")


def rate(series: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (rate({series}{{{labels}}}{EVERY}))"


def quantile(q: float, histogram: str, labels: str, by: str) -> str:
    """In the histogram's own unit."""
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', labels, f'{by}, le')})"


def requests(of: str) -> str:
    """Requests per second of each variant, as the gates count them."""
    return rate(f"{_RQ}_completed", f'{of}, traffic="live"', "variant")


def copies(of: str) -> str:
    """The same of the copies of a shadow step: what the router shed is nobody's, what was late came nevertheless."""
    completed, shed, late = (rate(f"{_RQ}_{what}", f"{of}, {_COPIES}", "variant") for what in _COPIED)
    return f"clamp_min({completed} - {shed}, 0) + {late}"


def errors(of: str) -> str:
    """Share of each variant's requests that failed: answered 5xx, or rescued by a second attempt.

    Envoy shows a class of status from its first answer on: until then there are only those that were rescued.
    """
    labels = f'{of}, traffic="live"'
    failed = f"rate({_RQ}_xx{{{labels}, {FAILED}}}{EVERY}) or rate({_RQ}_retry_success{{{labels}}}{EVERY})"
    return f"sum by (variant) ({failed}) / ({requests(of)} > 0)"


def copied_errors(of: str) -> str:
    """The same of the copies."""
    _, shed, late = (rate(f"{_RQ}_{what}", f"{of}, {_COPIES}", "variant") for what in _COPIED)
    failed = rate(f"{_RQ}_xx", f"{of}, {_COPIES}, {FAILED}", "variant")
    return f"(clamp_min({failed} - {shed}, 0) + {late} or {late}) / (({copies(of)}) > 0)"


def latency(q: float, labels: str) -> str:
    """In seconds."""
    return f"{quantile(q, f'{_RQ}_time', labels, 'variant')} / 1000"


def phase_number(labels: str) -> str:
    """The place of each pipeline's phase in `PHASES`, from 1: Grafana colours numbers."""
    each = (
        f'{i} * lockgate_rollout_phase{{{labels}{", " * bool(labels)}phase="{p}"}}' for i, p in enumerate(PHASES, 1)
    )
    return f"sum by (name) ({' or '.join(each)})"


def against(value: str, bar: str, labels: str, least: float) -> str:
    """`value` as a part of its `bar`, from `least` (a logarithm knows no zero) to ten times the bar."""
    return f"clamp({value}{{{labels}}} / ({bar}{{{labels}}} > 0), {least:g}, 10)"


def present_step(labels: str) -> str:
    """1 with the label `step`, of each pipeline once: where Prometheus missed the change of a step it shows two."""
    return f"topk by (name) (1, timestamp(lockgate_rollout_step_info{{{labels}}})) * 0 + 1"

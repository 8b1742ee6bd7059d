"""What is computed once for every dashboard and alert: rates, error ratios and latencies of each variant.

They count as the gates do (rollout/envoy/source.py): what a challenger failed and stable rescued is the challenger's
error, and copies that the router shed are nobody's.
"""

from __future__ import annotations

from lockgate.dashboards.rules.words import Recording

_BY = "by (name, variant, traffic)"
_COPIES = 'traffic="shadow"'
_LIVE = 'traffic!="shadow"'
_FAILED = 'envoy_response_code_class="5"'
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
WINDOWS = ("5m", "30m", "1h", "6h")


def _rate(series: str, of: str) -> str:
    return f"sum {_BY} (rate(envoy_cluster_upstream_rq_{series}{{{of}}}[5m]))"


_LATE = _rate("max_duration_reached", _COPIES)
_SHED = _rate("pending_overflow", _COPIES)


def _requests() -> Recording:
    copies = f"clamp_min({_rate('completed', _COPIES)} - {_SHED}, 0) + {_LATE}"
    return Recording("lockgate:requests:rate5m", f"{_rate('completed', _LIVE)} or {copies}")


def _errors() -> Recording:
    failed = f"rate(envoy_cluster_upstream_rq_xx{{{_FAILED}, {_LIVE}}}[5m])"
    rescued = f"rate(envoy_cluster_upstream_rq_retry_success{{{_LIVE}}}[5m])"
    # The class 5 comes with its first error: until then there are only those that were rescued, or that were late.
    live = f"sum {_BY} ({failed} or {rescued})"
    copies = f"clamp_min({_rate('xx', f'{_FAILED}, {_COPIES}')} - {_SHED}, 0) + {_LATE} or {_LATE}"
    return Recording("lockgate:errors:rate5m", f"{live} or {copies}")


def _latency(name: str, quantile: float) -> Recording:
    buckets = "sum by (name, variant, traffic, le) (rate(envoy_cluster_upstream_rq_time_bucket[5m]))"
    # `>= 0` leaves out what is no number: nobody asked.
    return Recording(f"lockgate:latency_seconds:{name}_5m", f"histogram_quantile({quantile:g}, {buckets}) / 1000 >= 0")


def _clients(window: str) -> Recording:
    failed = f"sum by (name) (rate(envoy_http_downstream_rq_xx{{{_FAILED}}}[{window}]))"
    every = f"sum by (name) (rate(envoy_http_downstream_rq_xx[{window}]))"
    return Recording(f"lockgate:client_error_ratio:rate{window}", f"{failed} / ({every} > 0)")


RECORDINGS = (
    _requests(),
    _errors(),
    Recording("lockgate:error_ratio:rate5m", "lockgate:errors:rate5m / (lockgate:requests:rate5m > 0)"),
    *(_latency(name, quantile) for name, quantile in QUANTILES.items()),
    Recording("lockgate:clients:rate5m", "sum by (name) (rate(envoy_http_downstream_rq_xx[5m]))"),
    *(_clients(window) for window in WINDOWS),
)

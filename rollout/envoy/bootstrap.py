"""The part of Envoy's configuration that is read once. It depends on the run directory alone, so it never changes."""

from __future__ import annotations

from pathlib import Path

from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.resources import Resource, extension, watched

ADMIN = "admin"
"""The cluster that is Envoy's own admin socket; the metrics listener forwards to it."""

_ADMIN_PATHS = (
    *("/ready", "/stats", "/config_dump", "/clusters", "/listeners", "/server_info", "/drain_listeners"),
    "/reopen_logs",
)

_MAX_CLIENT_CONNECTIONS = 10_000


def bootstrap(at: Folder, admin_socket: Path) -> Resource:
    return {
        "node": {"id": "lockgate", "cluster": "lockgate"},
        "admin": {
            "address": {"pipe": {"path": str(admin_socket), "mode": 0o600}},
            "allow_paths": [{"prefix": path} for path in _ADMIN_PATHS],
        },
        # Histograms lag behind counters by this.
        "stats_flush_interval": "1s",
        "stats_config": _stats(),
        "dynamic_resources": {
            "lds_config": watched(at.xds / "lds.json"),
            "cds_config": watched(at.xds / "cds.json"),
        },
        "static_resources": {"clusters": [_admin_cluster(admin_socket)]},
        "overload_manager": {"resource_monitors": [_connection_limit()]},
    }


def latency_buckets() -> dict[float, float]:
    """Upper edges in milliseconds by their names in Envoy: each whole one up to 20, then steps of a tenth, to 30 s.

    Envoy takes latencies down to whole milliseconds with two significant digits, and its `le` includes all that it
    took down to that number: what it calls 19 are the requests that took less than 20 ms, and 290 less than 300.
    """
    edges = [float(edge) for edge in range(1, 21)]
    while edges[-1] < _LAST_EDGE:
        step = edges[-1] * 1.1
        digit = 10 ** (len(str(int(step))) - 2)
        edges.append(min(_LAST_EDGE, float(round(step / digit) * digit)))
    return {_name(edge): edge for edge in edges}


def _name(edge: float) -> float:
    """The largest number with two significant digits below `edge`; none of a millisecond is anything below 1."""
    if edge == 1:
        return 0.5
    digits = len(str(int(edge) - 1))
    return edge - float(10 ** max(0, digits - 2))


_LAST_EDGE = 30_000.0


def _stats() -> Resource:
    buckets = list(latency_buckets())
    noise = (
        r"^cluster\..*\.(external|internal|canary|http1|http2|http3|zone|lb_.*|ssl|assignment_.*|client_ssl.*)(\..*)?$",
        r"^(runtime|main_thread|workers|filesystem|overload|dns|access_logs|thread_local)\..*",
        r"^(listener|http|cluster)\.(admin|metrics).*",
    )
    return {
        "histogram_bucket_settings": [
            {"match": {"suffix": name}, "buckets": buckets} for name in ("upstream_rq_time", "downstream_rq_time")
        ],
        "stats_matcher": {"exclusion_list": {"patterns": [{"safe_regex": {"regex": regex}} for regex in noise]}},
    }


def _admin_cluster(admin_socket: Path) -> Resource:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(admin_socket)}}}}
    return {
        "name": ADMIN,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {"cluster_name": ADMIN, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _connection_limit() -> Resource:
    return extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=_MAX_CLIENT_CONNECTIONS,
    )

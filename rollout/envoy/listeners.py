"""Where Envoy listens: for clients, and for whoever reads the metrics."""

from __future__ import annotations

from pathlib import Path

from lockgate.rollout.envoy.bootstrap import ADMIN
from lockgate.rollout.envoy.clients import CLIENT_HEADER, clients_filter, nobody_speaks_for_it
from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.limits import limits_filter
from lockgate.rollout.envoy.replies import local_replies
from lockgate.rollout.envoy.resources import Resource, address, duration, extension, split_address, typed, watched
from lockgate.rollout.envoy.routes import ROUTES
from lockgate.rollout.envoy.tls import transport
from lockgate.rollout.spec import Traffic

INGRESS = "ingress"
"""Of the statistics of clients' requests: `http.ingress.…`."""

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

_REQUEST_ROW = {
    "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client": f"%REQ({CLIENT_HEADER})%",
    "assigned": "%UPSTREAM_CLUSTER_RAW%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "route": "%ROUTE_NAME%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
}

_NAME = "lockgate"
"""In the header `server`, which would tell what runs here, and which version of it."""
_CLIENT = {
    "idle_timeout": "300s",
    "max_headers_count": 100,
    # To some frameworks `x_lockgate_variant` is `x-lockgate-variant`.
    "headers_with_underscores_action": "DROP_HEADER",
}
_HTTP2 = {"max_concurrent_streams": 100, "initial_stream_window_size": 2**16, "initial_connection_window_size": 2**20}
_UNREAD = 60.0
"""Seconds that a finished answer waits for its client."""
_BUFFERED = 2**20
"""Bytes of a connection that is slower than the other side. Bodies of requests are kept whole, see `max_body`."""

_ATTEMPT_ROW = {
    "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream": "%UPSTREAM_HOST%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_END:us)%",
    "fail": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}


def listeners(traffic: Traffic, at: Folder) -> list[Resource]:
    return [_ingress(traffic, at), _metrics(traffic)]


def _listener(name: str, listen: str, manager: Resource, transport_socket: Resource | None = None) -> Resource:
    return typed(
        "envoy.config.listener.v3.Listener",
        name=name,
        address=address(*split_address(listen)),
        # With SO_REUSEPORT a forgotten Envoy would silently take half of the requests.
        enable_reuse_port=False,
        # So all workers accept from one queue, and whoever wakes first would get most of the connections.
        connection_balance_config={"exact_balance": {}},
        per_connection_buffer_limit_bytes=_BUFFERED,
        filter_chains=[{"filters": [{"name": "http", "typed_config": manager}], **(transport_socket or {})}],
    )


def _ingress(traffic: Traffic, at: Folder) -> Resource:
    buffer = extension(
        "envoy.filters.http.buffer",
        "envoy.extensions.filters.http.buffer.v3.Buffer",
        max_request_bytes=traffic.max_body,
    )
    manager = typed(
        _MANAGER,
        stat_prefix=INGRESS,
        # Who sends is who is connected: what a client says in x-forwarded-for is handed on, and not believed.
        use_remote_address=True,
        # Nobody is internal: a client's `x-envoy-*` headers would switch off retries and time limits.
        internal_address_config={"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        early_header_mutation_extensions=[nobody_speaks_for_it()],
        server_name=_NAME,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        max_request_headers_kb=60,
        common_http_protocol_options=_CLIENT,
        http2_protocol_options=_HTTP2,
        request_headers_timeout=duration(min(5.0, traffic.receive_timeout)),
        request_timeout=duration(traffic.receive_timeout),
        # Envoy would set this clock anew at every event of a request. What it bounds is bounded: the request's arrival
        # by `request_timeout`, the answer's by the route's `timeout`, and a client that does not read by the flush.
        stream_idle_timeout="0s",
        stream_flush_timeout=duration(max(_UNREAD, traffic.timeout)),
        drain_timeout="3s",
        access_log=[_file_log(at.access_log, _REQUEST_ROW)],
        local_reply_config=local_replies(),
        rds={"route_config_name": ROUTES, "config_source": watched(at.xds / "rds.json")},
        http_filters=[
            clients_filter(),  # first: of strangers no body is kept
            buffer,
            limits_filter(),  # of a whole request: one that is refused early costs an HTTP/1.1 client its connection
            _router(upstream_log=[_file_log(at.upstream_log, _ATTEMPT_ROW)]),
        ],
    )
    return _listener(INGRESS, traffic.listen, manager, transport(traffic, at))


def _metrics(traffic: Traffic) -> Resource:
    """Only these two paths: the rest of the admin socket changes things."""
    routes = [
        {"match": _get("/metrics"), "route": {"cluster": ADMIN, "prefix_rewrite": "/stats/prometheus"}},
        {"match": _get("/ready"), "route": {"cluster": ADMIN}},
    ]
    hosts = [{"name": "metrics", "domains": ["*"], "routes": routes}]
    manager = typed(
        _MANAGER,
        stat_prefix="metrics",
        server_name=_NAME,
        local_reply_config=local_replies(),
        route_config={"name": "metrics", "virtual_hosts": hosts},
        http_filters=[_router()],
    )
    return _listener("metrics", traffic.metrics, manager) | {"ignore_global_conn_limit": True}


def _get(path: str) -> Resource:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}


def _router(**fields: list[Resource]) -> Resource:
    return extension(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        suppress_envoy_headers=True,
        **fields,
    )


def _file_log(path: Path, row: dict[str, str]) -> Resource:
    return extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=str(path),
        log_format={"json_format": row},
    )

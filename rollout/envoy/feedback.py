"""`POST /feedback`: what users did after they were answered goes to the server that keeps it.

It is neither copied nor split, and its cluster's counters are its own: feedback is no evidence of a variant's health.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

from lockgate.rollout.envoy.resources import Resource, duration, extension, typed

FEEDBACK = "feedback"
"""The cluster, and the names of its routes begin with it."""
PATH = "/feedback"

_SECONDS = 10.0
_MAX_BODY = 2**20
_LIMITS = {"max_connections": 64, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 64}
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER = "envoy.filters.http.buffer"
_OURS = "x-lockgate-"
"""Headers that only the router may set begin with it."""
_SENTENCE = "feedback is sent with POST, as JSON like {'metric': 'conversion', 'value': 1, 'user': 'u1'}"


def feedback_cluster(socket: Path) -> Resource:
    """The server on its unix socket. One that is dead is refused at once, and the client gets a 503."""
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=FEEDBACK,
        type="STATIC",
        connect_timeout="0.25s",
        circuit_breakers={"thresholds": [_LIMITS]},
        load_assignment={"cluster_name": FEEDBACK, "endpoints": [{"lb_endpoints": [endpoint]}]},
        typed_extension_protocol_options={_HTTP: _http_options()},
    )


def feedback_routes() -> list[Resource]:
    """For the path alone: what lies below it, or beside it, is the model's."""
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    small = typed("envoy.extensions.filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": _MAX_BODY})
    refusal = json.dumps({"errors": [_SENTENCE]})
    return [
        {
            "name": FEEDBACK,
            "match": {"path": PATH, "headers": [post]},
            "route": {"cluster": FEEDBACK, "timeout": duration(_SECONDS)},
            "typed_per_filter_config": {_BUFFER: small},
        },
        {
            "name": f"{FEEDBACK}-refused",
            "match": {"path": PATH},
            "direct_response": {"status": HTTPStatus.METHOD_NOT_ALLOWED, "body": {"inline_string": refusal}},
            "response_headers_to_add": [_header("allow", "POST"), _header("content-type", "application/json")],
        },
    ]


def keep_while_routed(wanted: list[Resource], present: list[Resource]) -> list[Resource]:
    """The clusters `wanted`, and the present one of feedback: what is on its way there still arrives."""
    if any(one["name"] == FEEDBACK for one in wanted):
        return wanted
    return [*wanted, *(one for one in present if one["name"] == FEEDBACK)]


def _http_options() -> Resource:
    ours = extension(
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"remove_on_match": {"key_matcher": {"prefix": _OURS}}}]},
    )
    codec = extension(
        "envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    )
    return typed(
        _HTTP,
        # Below the 5 s after which uvicorn closes an idle connection: feedback sent at that moment would be refused.
        common_http_protocol_options={"idle_timeout": "4s"},
        explicit_http_config={"http_protocol_options": {}},
        http_filters=[ours, codec],
        # What the server may have read already is not sent again: it would count twice.
        retry_policy={
            "num_retries": 2,
            "retry_on": "connect-failure,refused-stream",
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.1s"},
        },
    )


def _header(key: str, value: str) -> Resource:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}

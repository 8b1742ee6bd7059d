"""The sides as Envoy clusters.

`stable`, `candidate`, `shadow` and `echo` hold endpoints; copies go to the last two. What requests are routed to is a
composite of them, so that each purpose has counters of its own: `candidate_fb` is the candidate with stable behind it,
and `forced_*` are for testers, whose requests are no evidence. The other challengers of an A/B test have three each,
which `others` names.

Requests that are not sent a second time have clusters of their own, which `once` names.

There is no outlier ejection: an ejected candidate's requests would be answered by stable at the first attempt and
counted as the candidate's successes. What the candidate fails costs a client at most `failover.deadline`; when it
fails everything, the rollout goes back within seconds (see `analysis.outage`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lockgate.rollout.envoy import others
from lockgate.rollout.envoy.feedback import feedback_cluster
from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.once import once
from lockgate.rollout.envoy.resources import Resource, address, duration, typed, watched
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint, Other

STABLE = "stable"
CANDIDATE = "candidate"
CANDIDATE_FB = "candidate_fb"
SHADOW = "shadow"
ECHO = "echo"
FORCED_STABLE = "forced_stable"
FORCED_CANDIDATE = "forced_candidate"

ENDPOINT_CLUSTERS = {
    STABLE: STABLE,
    CANDIDATE: CANDIDATE,
    once(CANDIDATE): CANDIDATE,
    SHADOW: CANDIDATE,
    ECHO: STABLE,
}
"""Clusters that hold endpoints, and whose endpoints they hold."""

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

# As many as there can be clients' connections: a request that overflows these fails, and is not even retried.
_LIVE_LIMITS = {
    "max_connections": 10_000,
    "max_pending_requests": 10_000,
    "max_requests": 10_000,
    "max_retries": 10_000,
}
# Copies may be shed. Envoy holds at most max_connections bodies of max_body bytes for a shadow that stalls.
_SHADOW_LIMITS = {"max_connections": 32, "max_pending_requests": 32, "max_requests": 64, "max_retries": 0}

_RETRY: Resource = {
    "num_retries": 1,
    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.005s"},
    # To another replica than before. One that has died has the fewest requests and is drawn three times in four, where
    # there are two: it takes many draws to leave it.
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
        }
    ],
    "host_selection_retry_max_attempts": "50",
}
_FAILOVER = _RETRY | {"retry_on": "5xx,reset,connect-failure,refused-stream"}
_RETRY_LOST = _RETRY | {"retry_on": "connect-failure,refused-stream,reset"}
"""Stable's own errors reach the client as they are; only a request that found no server goes out again."""
_RETRY_UNSENT = _RETRY | {"retry_on": "connect-failure,refused-stream"}
"""A request that no server may have begun with goes out again, and no other."""


def clusters(
    traffic: Traffic, at: Folder, feedback: Path | None = None, challengers: Iterable[Other] = ()
) -> list[Resource]:
    """`feedback`: the socket of the server that keeps it, where there is one. `challengers`: the others."""
    return [
        _endpoints_cluster(STABLE, at, _LIVE_LIMITS, retry=_RETRY_LOST),
        _endpoints_cluster(CANDIDATE, at, _LIVE_LIMITS, stream=_deadline(traffic)),
        _copies(SHADOW, traffic, at),
        _copies(ECHO, traffic, at),
        _composite(CANDIDATE_FB, [CANDIDATE, STABLE], _FAILOVER),
        _composite(FORCED_STABLE, [STABLE], _RETRY_LOST),
        _composite(FORCED_CANDIDATE, [CANDIDATE, STABLE], _FAILOVER),
        *(_sent_once(traffic, at) if traffic.failover.methods != "all" else []),
        *([feedback_cluster(feedback)] if feedback else []),
        *(cluster for one in challengers for cluster in _of_other(one, traffic)),
    ]


def endpoints(side: str, addresses: Iterable[Endpoint]) -> list[Resource]:
    """The endpoints of `stable` or `candidate`; none is well."""
    found = [{"endpoint": {"address": address(one.host, one.port)}} for one in addresses]
    return [
        typed(
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            cluster_name=side,
            endpoints=[{"lb_endpoints": found}] if found else [],
        )
    ]


def _sent_once(traffic: Traffic, at: Folder) -> list[Resource]:
    """The twins. What testers send is not to be counted, so it goes to the candidate's own endpoints."""
    return [
        _endpoints_cluster(once(CANDIDATE), at, _LIVE_LIMITS, stream=_deadline(traffic)),
        _composite(once(STABLE), [STABLE], _RETRY_UNSENT),
        _composite(once(CANDIDATE_FB), [once(CANDIDATE), STABLE], _RETRY_UNSENT),
        _composite(once(FORCED_STABLE), [STABLE], _RETRY_UNSENT),
        _composite(once(FORCED_CANDIDATE), [CANDIDATE, STABLE], _RETRY_UNSENT),
    ]


def _of_other(one: Other, traffic: Traffic) -> list[Resource]:
    name, routed, forced = others.holding(one.name), others.with_stable(one.name), others.forced(one.name)
    composites = [_composite(cluster, [name, STABLE], _FAILOVER) for cluster in (routed, forced)]
    held = [name]
    if traffic.failover.methods != "all":
        held.append(once(name))
        composites.append(_composite(once(routed), [once(name), STABLE], _RETRY_UNSENT))
        composites.append(_composite(once(forced), [name, STABLE], _RETRY_UNSENT))
    return [*(_fixed(each, one, traffic) for each in held if one.endpoints), *composites]


def _fixed(name: str, one: Other, traffic: Traffic) -> Resource:
    [assignment] = endpoints(name, sorted(one.endpoints))
    found = {"type": "STATIC", "load_assignment": {key: assignment[key] for key in ("cluster_name", "endpoints")}}
    return _holding(name, found, _LIVE_LIMITS, stream=_deadline(traffic))


def _endpoints_cluster(name: str, at: Folder, limits: dict[str, int], **http: Any) -> Resource:
    side = ENDPOINT_CLUSTERS[name]
    eds = {"service_name": side, "eds_config": watched(at.xds / f"eds_{side}.json")}
    return _holding(name, {"type": "EDS", "eds_cluster_config": eds}, limits, **http)


def _holding(name: str, found: Resource, limits: dict[str, int], **http: Any) -> Resource:
    """A cluster of endpoints. `found`: how it comes by them."""
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        connect_timeout="0.25s",
        **found,
        lb_policy="LEAST_REQUEST",
        circuit_breakers={"thresholds": [limits]},
        track_cluster_stats={"per_endpoint_stats": True},
        typed_extension_protocol_options=_http_options(**http),
    )


def _deadline(traffic: Traffic) -> Resource:
    """For the candidate and its copies alone: a retry policy's `per_try_timeout` would end stable's attempt too."""
    return {"max_stream_duration": duration(traffic.failover.deadline)}


def _copies(name: str, traffic: Traffic, at: Folder) -> Resource:
    copies = _endpoints_cluster(name, at, _SHADOW_LIMITS, stream=_deadline(traffic))
    # A copy is streamed beside the original: what does not fit here waits for the other to read, and the client with
    # it. The buffer filter hands bodies on whole, which avoids that today; this holds without it too.
    copies["per_connection_buffer_limit_bytes"] = traffic.max_body + 2**20
    return copies


def _composite(name: str, members: list[str], retry: Resource) -> Resource:
    """Attempt 1 goes to the first member, attempt 2 to the next. One that is not there fails its attempt.

    The last one is always stable, which gets one attempt more: the first may meet a replica that has just died.
    """
    tried = [{"name": member} for member in (*members, STABLE)]
    config = typed("envoy.extensions.clusters.composite.v3.ClusterConfig", clusters=tried)
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        connect_timeout="0.25s",
        lb_policy="CLUSTER_PROVIDED",
        circuit_breakers={"thresholds": [_LIVE_LIMITS]},
        typed_extension_protocol_options=_http_options(retry=retry | {"num_retries": len(members)}),
        cluster_type={"name": "envoy.clusters.composite", "typed_config": config},
    )


def _http_options(*, retry: Resource | None = None, stream: Resource | None = None) -> Resource:
    """Retries belong to a cluster, not to the route: stable has neither the candidate's deadline nor its failover."""
    options = typed(
        _HTTP,
        # Below the 5 s after which uvicorn closes an idle connection: a request sent at that moment would be lost.
        common_http_protocol_options={"idle_timeout": "4s", **(stream or {})},
        explicit_http_config={"http_protocol_options": {}},
    )
    return {_HTTP: options | ({"retry_policy": retry} if retry else {})}

"""The other challengers of an A/B test: how their clusters are called, and how those come and go under requests.

`other_<name>` holds the endpoints, which stand in the cluster itself; `other_<name>_fb` is that with stable behind it,
and `forced_other_<name>` the same for testers. One without endpoints has the last two alone, and stable answers there.

A request keeps the route that it found when it came, however long its body takes; and Envoy looks the route's cluster
up when the body is there, and again for the second attempt. So these two stay when their challenger leaves the routes,
until no such request can be left.
"""

from __future__ import annotations

import re

from lockgate.rollout.envoy.once import ONCE
from lockgate.rollout.envoy.resources import Resource

NAME = r"[a-z][a-z0-9-]{0,30}"
"""Of a challenger. Without `_`, so that no two can have a cluster's name in common."""
HOLDING = rf"other_{NAME}"
"""The clusters of endpoints."""
WITH_STABLE = rf"other_{NAME}_fb"
"""The clusters whose counts are evidence."""

_OURS = re.compile(rf"(?:forced_)?other_({NAME})(?:_fb)?(?:{ONCE})?")
_GONE, _SINCE = "lockgate", "gone"
_LINGERS = 600.0
"""Seconds. A body that stalls is given up sooner: see the listener's `stream_idle_timeout`."""


def holding(name: str) -> str:
    """The cluster of a challenger's endpoints."""
    return f"other_{name}"


def with_stable(name: str) -> str:
    """The cluster that its users' requests are routed to."""
    return f"other_{name}_fb"


def forced(name: str) -> str:
    return f"forced_other_{name}"


def challenger(cluster: str) -> str | None:
    """The challenger that a cluster is of."""
    found = _OURS.fullmatch(cluster)
    return found[1] if found else None


def keep_others(wanted: list[Resource], present: list[Resource]) -> list[Resource]:
    """The clusters `wanted`, and those of present challengers, to which requests are still routed."""
    return [*wanted, *_left(wanted, present)]


def let_go(wanted: list[Resource], present: list[Resource], now: float) -> list[Resource]:
    """The clusters `wanted`, and what late requests need of challengers that went not long before `now`."""
    composites = [one for one in _left(wanted, present) if "cluster_type" in one]
    return [*wanted, *(_gone(one, now) for one in composites if _since(one, now) > now - _LINGERS)]


def taken_over(wanted: list[Resource], good: list[Resource]) -> list[Resource]:
    """The clusters `wanted`, with those challengers that Envoy served last, as they were."""
    wanted = [one for one in wanted if not challenger(one["name"])]
    return [*wanted, *_left(wanted, good)]


def _left(wanted: list[Resource], present: list[Resource]) -> list[Resource]:
    """What is present of challengers, and of requests that are sent once, which another spec may have had."""
    names = {one["name"] for one in wanted}
    return [one for one in present if _comes_and_goes(one["name"]) and one["name"] not in names]


def _comes_and_goes(cluster: str) -> bool:
    return cluster.endswith(ONCE) or challenger(cluster) is not None


def _gone(cluster: Resource, now: float) -> Resource:
    return cluster | {"metadata": {"filter_metadata": {_GONE: {_SINCE: _since(cluster, now)}}}}


def _since(cluster: Resource, now: float) -> float:
    since: float = cluster.get("metadata", {}).get("filter_metadata", {}).get(_GONE, {}).get(_SINCE, now)
    return since

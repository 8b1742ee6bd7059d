"""Requests that are not sent a second time: those whose method is not one of `failover.methods`.

Each route has a twin for them, and so has each cluster that the routes lead to: there, only what never left Envoy, for
no connection came about, goes to stable. The candidate's endpoints have a twin too, which counts what was given up at
the deadline: Envoy answers that with 504, and charges it to no other counter.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from lockgate.rollout.envoy.resources import Resource
from lockgate.rollout.spec import Traffic

ONCE = "_once"
"""What the names of the clusters end with."""
TWIN = "once-"
"""What the names of the routes begin with."""


def once(cluster: str) -> str:
    return f"{cluster}{ONCE}"


def with_twins(traffic: Traffic, routes: Iterable[Resource]) -> list[Resource]:
    """Each route behind its twin. Where every method is rescued there are none."""
    if traffic.failover.methods == "all":
        return list(routes)
    return [each for route in routes for each in (_twin(traffic.failover.methods, route), route)]


def _twin(methods: tuple[str, ...], route: Resource) -> Resource:
    twin = deepcopy(route)
    twin["name"] = f"{TWIN}{route['name']}"
    if methods:
        listed = {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(methods)}}}
        twin["match"].setdefault("headers", []).append(listed | {"invert_match": True})
    action = twin["route"]
    if "cluster" in action:
        action["cluster"] = once(action["cluster"])
    for slot in action.get("weighted_clusters", {}).get("clusters", []):
        slot["name"] = once(slot["name"])
    return twin

"""What a change of the routes leaves as it is: who is answered, how often, and who may pick a variant.

Whoever drives a rollout knows the `traffic` that it was opened with. `lockgate up` may have added keys, TLS or limits
since, or taken a key away: with its own, a driver would open the address again.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from lockgate.rollout.envoy.resources import Resource
from lockgate.rollout.envoy.routes import forced

_FILTERS = "typed_per_filter_config"
_OF_HOST = (_FILTERS, "request_body_buffer_limit")
"""The second goes with the listener's `max_body`."""


def protected(wanted: list[Resource], present: list[Resource]) -> list[Resource]:
    """The routes `wanted`, as protected as the `present` ones.

    All routes for testers are protected alike, so those of a challenger that comes find theirs too.
    """
    made = deepcopy(wanted)
    for new, old in zip(_hosts(made), _hosts(present), strict=True):
        for field in _OF_HOST:
            _take(field, new, old)
        by_testers = next(route for route in old["routes"] if forced(route))
        for route in filter(forced, new["routes"]):
            _take(_FILTERS, route, by_testers)
            route["match"]["headers"][0]["name"] = by_testers["match"]["headers"][0]["name"]
    return made


def _hosts(configurations: list[Resource]) -> Iterator[Resource]:
    return (host for one in configurations for host in one["virtual_hosts"])


def _take(field: str, new: Resource, old: Resource) -> None:
    new.pop(field, None)
    if field in old:
        new[field] = deepcopy(old[field])

"""The split of traffic as Envoy routes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockgate.rollout.envoy import others
from lockgate.rollout.envoy.clients import only_clients
from lockgate.rollout.envoy.clusters import (
    CANDIDATE,
    CANDIDATE_FB,
    ECHO,
    FORCED_CANDIDATE,
    FORCED_STABLE,
    SHADOW,
    STABLE,
)
from lockgate.rollout.envoy.feedback import feedback_routes
from lockgate.rollout.envoy.limits import limited
from lockgate.rollout.envoy.once import TWIN, with_twins
from lockgate.rollout.envoy.resources import Resource, duration, typed
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import WHOLE, Endpoint, Other, Routes

ROUTES = "routes"
VARIANT_HEADER = "x-lockgate-variant"
SHADOW_HEADER = "x-lockgate-shadow"

_BY_USER = "by-user"
_FORCED = "force-"
_VALUE = r"\1"
"""The header's value in a regex substitution."""


def route_configuration(traffic: Traffic, routes: Routes, *, feedback: bool = False) -> list[Resource]:
    """`feedback`: whether there is a server that keeps it; without one, its path is a path like any other."""
    mirror = _mirrors(routes)
    live = {"request_headers_to_remove": [SHADOW_HEADER]}
    by_user = _split(traffic, routes, traffic.sticky.header)
    by_request = _split(traffic, routes, "x-request-id")
    models = [
        _forced(traffic, CANDIDATE, FORCED_CANDIDATE if routes.candidate else FORCED_STABLE),
        _forced(traffic, STABLE, FORCED_STABLE),
        *(_forced(traffic, o.name, others.forced(o.name) if o.endpoints else FORCED_STABLE) for o in routes.others),
        {"name": _BY_USER, "match": _with_header(traffic.sticky.header), "route": by_user | mirror, **live},
        {"name": "by-request", "match": {"prefix": "/"}, "route": by_request | mirror, **live},
    ]
    host = {
        "name": "all",
        "domains": ["*"],
        # Envoy's default of 1 MiB leaves larger bodies without a second attempt, unless the buffer filter raises it.
        "request_body_buffer_limit": traffic.max_body,
        **_filters(only_clients(traffic) | limited(traffic)),
        "routes": [
            *(feedback_routes() if feedback else []),
            *with_twins(traffic, models),
        ],
    }
    return [
        typed(
            "envoy.config.route.v3.RouteConfiguration",
            name=ROUTES,
            # Without it a weight on a cluster that is not there is accepted and answered with 503.
            validate_clusters=True,
            virtual_hosts=[host],
        )
    ]


def routes_of(configuration: Resource, hosts: Mapping[str, tuple[Endpoint, ...]]) -> Routes:
    """What a route configuration, as Envoy shows it in its config dump, and the endpoints of its clusters mean."""
    routes = {route["name"]: route for route in configuration["virtual_hosts"][0]["routes"]}
    by_user = routes[_BY_USER]["route"]
    _, candidate, *slots = by_user["weighted_clusters"]["clusters"]
    picked = [name.removeprefix(_FORCED) for name in routes if name.startswith(_FORCED)]
    names = [name for name in picked if name not in (STABLE, CANDIDATE)]
    copied = {
        one["cluster"]: one["runtime_fraction"]["default_value"].get("numerator", 0)
        for one in by_user.get("request_mirror_policies", [])
    }
    substitution: str = by_user["hash_policy"][0]["header"]["regex_rewrite"]["substitution"]
    return Routes(
        stable=hosts[STABLE],
        candidate=_answering(candidate, hosts[CANDIDATE]),
        weight=candidate.get("weight", 0),
        mirror=copied.get(SHADOW, 0),
        echo=copied.get(ECHO, 0),
        salt=substitution.removesuffix(_VALUE),
        others=tuple(
            Other(name, _answering(slot, hosts.get(others.holding(name), ())), slot.get("weight", 0))
            for name, slot in zip(names, slots, strict=True)
        ),
    )


def forced(route: Resource) -> bool:
    """Whether it is for testers, who pick its variant."""
    name: str = route["name"]
    return name.removeprefix(TWIN).startswith(_FORCED)


def _answering(slot: Resource, hosts: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """None where stable answers: endpoints may be left of a change that was broken off."""
    return () if slot["name"] == STABLE else hosts


def _split(traffic: Traffic, routes: Routes, hashed: str) -> Resource:
    """The order and the sum of the weights never change: so larger weights take users from stable and give it none.

    The sides share the numbers below `WHOLE` in their order, and `xxh64(salt + value of the header) % WHOLE` falls to
    one of them.
    """
    rewrite = {"pattern": {"regex": "^(.*)$"}, "substitution": routes.salt + _VALUE}
    stable = WHOLE - routes.weight - sum(one.weight for one in routes.others)
    candidate = bool(routes.candidate or not routes.weight)
    return {
        "timeout": duration(traffic.timeout),
        "hash_policy": [{"header": {"header_name": hashed, "regex_rewrite": rewrite}, "terminal": True}],
        "weighted_clusters": {
            "use_hash_policy": True,
            "clusters": [
                _slot(STABLE, STABLE, stable),
                _slot(CANDIDATE_FB, CANDIDATE, routes.weight, here=candidate),
                *(_slot(others.with_stable(o.name), o.name, o.weight, here=bool(o.endpoints)) for o in routes.others),
            ],
        },
    }


def _slot(cluster: str, variant: str, weight: int, *, here: bool = True) -> Resource:
    """A share of the split; stable answers there while its variant is not `here`."""
    if not here:
        cluster, variant = STABLE, STABLE
    return {"name": cluster, "weight": weight, **_named(variant)}


def _mirrors(routes: Routes) -> Resource:
    copies = [_copy(SHADOW, routes.mirror, CANDIDATE, "1"), _copy(ECHO, routes.echo, STABLE, ECHO)]
    policies = [policy for policy in copies if policy["runtime_fraction"]["default_value"]["numerator"]]
    return {"request_mirror_policies": policies} if policies else {}


def _copy(cluster: str, share: int, variant: str, mark: str) -> Resource:
    """Copies carry the request id of their original, and a mark by which whoever answers them knows that they are."""
    return {
        "cluster": cluster,
        "disable_shadow_host_suffix_append": True,
        "runtime_fraction": {"default_value": {"numerator": share, "denominator": "TEN_THOUSAND"}},
        "request_headers_mutations": [
            {"remove": "authorization"},
            {"append": _header(SHADOW_HEADER, mark)},
            {"append": _header(VARIANT_HEADER, variant)},
        ],
    }


def _forced(traffic: Traffic, wanted: str, cluster: str) -> Resource:
    """A tester's request: it is not mirrored, and its counters are no evidence."""
    return {
        "name": f"{_FORCED}{wanted}",
        "match": {"prefix": "/", "headers": [{"name": traffic.force.header, "string_match": {"exact": wanted}}]},
        "route": {"cluster": cluster, "timeout": duration(traffic.timeout)},
        **_filters(only_clients(traffic, traffic.force.clients) if traffic.force.clients else {}),
        **_named(STABLE if cluster == FORCED_STABLE else wanted, [_header(SHADOW_HEADER, "forced")]),
    }


def _filters(configs: Resource) -> Resource:
    return {"typed_per_filter_config": configs} if configs else {}


def _with_header(name: str) -> Resource:
    return {"prefix": "/", "headers": [{"name": name, "string_match": {"safe_regex": {"regex": ".+"}}}]}


def _named(variant: str, marks: Sequence[Resource] = ()) -> Resource:
    header = _header(VARIANT_HEADER, variant)
    return {"request_headers_to_add": [header, *marks], "response_headers_to_add": [header]}


def _header(key: str, value: str) -> Resource:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}

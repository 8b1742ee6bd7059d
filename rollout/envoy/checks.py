"""Routes that Envoy would accept and answer with 503, or could not tell apart, and files that it could not use."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter

from lockgate.rollout.envoy.clusters import CANDIDATE, STABLE
from lockgate.rollout.envoy.others import NAME
from lockgate.rollout.envoy.tls import wrong
from lockgate.rollout.errors import RouterRefused
from lockgate.rollout.protection import Tls
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import WHOLE, Endpoint, Routes


def check(routes: Routes) -> None:
    """Raises `RouterRefused`."""
    if not routes.stable:
        raise RouterRefused("routes without an endpoint for stable would fail every request; name at least one")
    for name, share in (("weight", routes.weight), ("mirror", routes.mirror), ("echo", routes.echo)):
        if not 0 <= share <= WHOLE:
            raise RouterRefused(f"a {name} of {share} is no share; give ten-thousandths, from 0 to {WHOLE}")
        needless = name == "echo" or (name == "weight" and routes.others)
        if share and not needless and not routes.candidate:
            raise RouterRefused(
                f"a {name} of {share / 100:g} % needs a candidate, and the routes name no endpoint for it; "
                f"start the candidate, or set the {name} to 0"
            )
    if not re.fullmatch(r"[A-Za-z0-9:_-]+", routes.salt):
        raise RouterRefused(f"the salt {routes.salt!r} is not one; use letters, digits, ':', '_' and '-'")
    _check_others(routes)
    for endpoint in (*routes.stable, *routes.candidate, *(at for one in routes.others for at in one.endpoints)):
        _check_endpoint(endpoint)


def check_files(traffic: Traffic) -> None:
    """The files that `traffic` names are such that Envoy can use them. Raises `RouterRefused`."""
    check_tls(traffic.tls)


def check_tls(tls: Tls | None) -> None:
    """Those that Envoy is to read. Raises `RouterRefused`."""
    if tls and (why := wrong(tls)):
        raise RouterRefused(f"rollout.traffic.tls.{why}")


def _check_others(routes: Routes) -> None:
    for one in routes.others:
        if not re.fullmatch(NAME, one.name) or one.name in (STABLE, CANDIDATE):
            raise RouterRefused(
                f"{one.name!r} cannot be a challenger's name: use at most 31 small letters, digits and '-', a letter "
                f"first, and neither {STABLE!r} nor {CANDIDATE!r}"
            )
        if one.weight < 0:
            raise RouterRefused(f"a weight of {one.weight} for {one.name} is no share; give ten-thousandths, from 0 on")
    if twice := [name for name, count in Counter(one.name for one in routes.others).items() if count > 1]:
        raise RouterRefused(f"two challengers are called {twice[0]!r}; give each its own name")
    if (together := routes.weight + sum(one.weight for one in routes.others)) > WHOLE:
        raise RouterRefused(
            f"the challengers' weights are {together / 100:g} % together, and there is no more than 100 %; lower them"
        )


def _check_endpoint(endpoint: Endpoint) -> None:
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        raise RouterRefused(
            f"the endpoint {endpoint} is not an IP address with a port; names are not looked up"
        ) from None

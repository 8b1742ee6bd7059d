"""Versions that somebody else serves: what stands in the place of their bentos, and what is said of them."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress

from lockgate.flows.errors import ServedElsewhere
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.flows.uncaptured import judged
from lockgate.registry.words import ModelVersion
from lockgate.rollout.traffic import Traffic
from lockgate.rollout.words import Endpoint
from lockgate.services import external
from lockgate.services.errors import NotReady
from lockgate.services.external import Served
from lockgate.services.external_look import addresses
from lockgate.services.external_spec import External, split
from lockgate.services.words import EXTERNAL, Bento, Build

Sides = Mapping[str, tuple[Endpoint, ...]]


def found(at: External, spec: Spec, version: ModelVersion, where: Home, say: Callable[[str], None]) -> Build:
    """In the place of a build: where the version is served, remembered. Raises `NotReady` for what is no address."""
    try:
        places = at.at(version.version)
    except ValueError as error:
        raise NotReady(f"service.external.endpoints: {error}") from None
    for place in places:
        if any(_is_routers(spec.rollout.traffic, at) for at in _endpoints(place)):
            raise NotReady(
                f"service.external.endpoints: {version} would be at {place}, which is the router's own address; let"
                " rollout.traffic listen elsewhere"
            )
    bento = external.elsewhere(spec.name, version.name, version.version, places)
    folder, ready = where.external(spec.name), at.path(version.name, version.version)
    external.place(folder, Served(bento, places, ready))
    say(f"{version} is served elsewhere, at {', '.join(places)}: nothing of it is compiled or proven")
    return Build(bento, None, places=places)


def forget(where: Home, name: str, named: Collection[str]) -> None:
    """Of versions that are served elsewhere, those that nobody asks for any more. `named`: tags that still matter."""
    external.forget(where.external(name), named, time.time())


def known(where: Home, name: str, tag: str) -> Bento | None:
    """What a tag stands for, whatever the spec says by now; None for that of a bento."""
    served = external.read(where.external(name), tag)
    return served.bento if served else None


def check_here(spec: Spec, what: str) -> None:
    """Of a command that needs a bento, or what it has captured. `what`: why, as the end of a sentence."""
    if spec.service.external:
        raise ServedElsewhere(f"{spec.name} is served elsewhere (service.external), and {what}")


def check_judged(spec: Spec, serving: Callable[[], Bento | None]) -> None:
    """Stable may be served elsewhere still when the spec's versions are not. Raises `ServedElsewhere`."""
    why = next(judged(spec.rollout), "")
    if why and (stable := serving()) and stable.target == EXTERNAL:
        raise ServedElsewhere(f"stable is {stable.tag}, which is served elsewhere still. {why}; or add it afterwards")


def check_apart(made: Mapping[str, Bento], sides: Callable[[Mapping[str, str]], Sides], traffic: Traffic) -> None:
    """Two sides at one address would be one, at the router's none. `sides`: endpoints. Raises `NotReady`."""
    if EXTERNAL not in {bento.target for bento in made.values()}:
        return
    seen: dict[Endpoint, str] = {}
    for side, endpoints in sides({f"{side}_bento": bento.tag for side, bento in made.items()}).items():
        for endpoint in endpoints:
            if made[side].target == EXTERNAL and _is_routers(traffic, endpoint):
                raise NotReady(
                    f"{side} is at {endpoint}, which is the router's own address; let rollout.traffic listen elsewhere"
                )
            if (other := seen.setdefault(endpoint, side)) != side:
                raise NotReady(
                    f"{other} and {side} are both at {endpoint}, so requests cannot be told apart; serve each version"
                    " at an address of its own, and name it in service.external.endpoints"
                )


def _is_routers(traffic: Traffic, at: Endpoint) -> bool:
    """Whether requests to this address come to the router; it may listen on every address of this machine."""
    to = ipaddress.ip_address(at.host.partition("%")[0])
    to = getattr(to, "ipv4_mapped", None) or to
    reached = "127.0.0.1" if to.is_unspecified else str(to)
    for own in (traffic.listen, traffic.metrics):
        host, port = split(own)
        everywhere = ipaddress.ip_address(host).is_unspecified
        if int(port) == at.port and (_is_here(reached) if everywhere else host == reached):
            return True
    return False


def _endpoints(place: str) -> Iterator[Endpoint]:
    """None for a name that is not known: who waits for it to be ready will say so."""
    host, port = split(place)
    with suppress(OSError, UnicodeError):
        for address in addresses(host, int(port)):
            yield Endpoint(address, int(port))


def _is_here(address: str) -> bool:
    """Whether it is one of this machine's, of IPv4, as the router's are: one can listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True

"""Whom Prometheus asks now: the replicas and routers of every pipeline, with the labels of what they serve."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lockgate.flows.home import Home
from lockgate.flows.metrics.reader import Reader
from lockgate.flows.observing.scraping import VERSION_OF
from lockgate.flows.spec import Spec
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.errors import RouterError
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint
from lockgate.services.local import LocalPlatform
from lockgate.services.package import packaged
from lockgate.services.words import EXTERNAL, Replica

_LOG = logging.getLogger("lockgate.observe")
_ANYWHERE = "0.0.0.0"  # noqa: S104 - compared, never bound
Target = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    """Of a language model, behind the replicas of a pipeline. `address`: HOST:PORT of its /metrics."""

    name: str
    address: str


def served(server: Server) -> Target:
    """Its series have the labels of a replica, as far as anybody knows them, and its own."""
    return {"targets": [server.address], "labels": {"name": server.name, "replica": server.address}}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`facts`: of its open rollout, or the last one. `open`: whether it is open."""

    name: str
    model: str
    traffic: Traffic
    facts: Mapping[str, str] = field(default_factory=dict)
    open: bool = False

    def version(self, bento: str) -> str:
        """Of the model in a bento; empty where nobody knows any more."""
        for key, tag in self.facts.items():
            if tag == bento and key.endswith("_bento"):
                return self.facts.get(f"{key.removesuffix('_bento')}_version", "")
        found = packaged(bento)
        return found.version if found else ""

    @property
    def elsewhere(self) -> dict[str, str]:
        """Versions by side, of those that somebody else serves while a rollout is open: they are no targets of ours."""
        sides = [key.removesuffix("_target") for key, target in self.facts.items() if target == EXTERNAL]
        return {side: self.facts.get(f"{side}_version", "") for side in sides} if self.open else {}

    def side(self, bento: str) -> str:
        """What a bento is in the rollout, for replicas that get no traffic."""
        tags = {key.removesuffix("_bento"): tag for key, tag in self.facts.items() if key.endswith("_bento")}
        return next((side for side, tag in tags.items() if tag == bento), "")


def pipelines(store: Reader, specs: Iterable[Spec]) -> list[Pipeline]:
    """Those of the specs, and those that the store knows. Raises `StoreDown`."""
    heads = store.heads()
    shown = {head.name: head for head in sorted(heads, key=lambda head: head.closed_at is None)}
    found = {spec.name: Pipeline(spec.name, spec.model.name, spec.rollout.traffic) for spec in specs}
    for name, head in shown.items():
        rollout, state = store.rollout(head.id), store.last(head.id).state
        traffic = found[name].traffic if name in found else rollout.spec.traffic
        model = rollout.subject.get("model", "")
        found[name] = Pipeline(name, model, traffic, state.facts, open=head.closed_at is None)
    return list(found.values())


def targets(where: Home, of: Iterable[Pipeline]) -> dict[str, list[Target]]:
    """By the file that they belong in. A pipeline that cannot be looked at is left out, and logged."""
    routers: list[Target] = []
    replicas: list[Target] = []
    for pipeline in of:
        try:
            running = _replicas(where, pipeline)
            up = _router(where, pipeline)
            sides = _sides(up) if up else {}
            mine = [_replica(pipeline, one, sides) for one in running]
            if up or running or pipeline.open:  # `lockgate down` ends all of it, and nobody is to be alarmed
                routers.append(_routed(pipeline, mine))
            replicas += mine
        except Exception:  # noqa: BLE001 - the other pipelines are watched all the same
            _LOG.exception("what runs of %s cannot be found out", pipeline.name)
    return {"envoy": routers, "replica": replicas}


def _replicas(where: Home, pipeline: Pipeline) -> list[Replica]:
    """Those that have answered once: one that is being started is not down."""
    at = where.replicas(pipeline.name)
    return [one for one in LocalPlatform(at, 0).replicas() if one.ready] if at.is_dir() else []


def _router(where: Home, pipeline: Pipeline) -> EnvoyRouter | None:
    """The pipeline's, where it runs."""
    at = where.router(pipeline.name)
    router = EnvoyRouter(at, pipeline.traffic) if at.is_dir() else None
    return router if router and router.running() else None


def _sides(router: EnvoyRouter) -> dict[Endpoint, str]:
    """The variant of every endpoint that the router sends to."""
    try:
        routes = router.applied()
    except RouterError as reason:
        _LOG.debug("%s", reason)
        return {}
    sides = {"candidate": routes.candidate, "stable": routes.stable}
    sides |= {other.name: other.endpoints for other in routes.others}
    return {endpoint: side for side, endpoints in sides.items() for endpoint in endpoints}


def _replica(pipeline: Pipeline, one: Replica, sides: Mapping[Endpoint, str]) -> Target:
    variant = sides.get(Endpoint(one.host, one.port)) or pipeline.side(one.bento)
    labels = {"variant": variant, "version": pipeline.version(one.bento), "replica": one.id}
    return _target(f"{one.host}:{one.port}", pipeline, labels)


def _routed(pipeline: Pipeline, replicas: Iterable[Target]) -> Target:
    host, _, port = pipeline.traffic.metrics.rpartition(":")
    host = "127.0.0.1" if host == _ANYWHERE else host
    served = pipeline.elsewhere | {
        one["labels"].get("variant", ""): one["labels"].get("version", "") for one in replicas
    }
    versions = {f"{VERSION_OF}{side}": served[side] for side in ("stable", "candidate") if served.get(side)}
    return _target(f"{host}:{port}", pipeline, versions)


def _target(address: str, pipeline: Pipeline, labels: Mapping[str, str]) -> Target:
    every = {"name": pipeline.name, "model": pipeline.model, **labels}
    return {"targets": [address], "labels": {key: value for key, value in every.items() if value}}

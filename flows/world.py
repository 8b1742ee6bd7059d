"""The adapters that one spec asks for, made once. Here champion/challenger meets stable/candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lockgate.flows.feedback import Keeper, address, needed
from lockgate.flows.home import Home, home
from lockgate.flows.spec import Spec
from lockgate.flows.specfile.environment import referred
from lockgate.registry.words import Registry
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.envoy.source import EnvoySource
from lockgate.rollout.store import Store
from lockgate.rollout.words import Endpoint
from lockgate.services.compile.environment import withhold
from lockgate.services.external import ExternalPlatform
from lockgate.services.local import LocalPlatform
from lockgate.services.platforms import HereAndElsewhere
from lockgate.services.ports import Platform
from lockgate.services.words import Replica


@dataclass(frozen=True)
class World:
    spec: Spec
    home: Home
    store: Store
    registry: Registry
    platform: Platform
    router: EnvoyRouter
    source: EnvoySource
    feedback: Keeper

    def served(self, bento: str) -> list[Replica]:
        return [r for r in self.platform.replicas() if r.bento == bento]

    def sides(self, facts: Mapping[str, str]) -> dict[str, tuple[Endpoint, ...]]:
        """The endpoints of each side: the replicas that serve the bentos of this rollout."""
        running = self.platform.replicas()
        return {
            side: tuple(
                sorted(Endpoint(r.host, r.port) for r in running if r.ready and r.bento == facts.get(f"{side}_bento"))
            )
            for side in ("stable", *self.spec.rollout.challengers)
        }


@contextmanager
def world(spec: Spec, where: Home | None = None) -> Iterator[World]:
    from lockgate.registry.mlflow_registry import MlflowRegistry

    where = where or home()
    withhold(referred(spec.document), where.replicas(spec.name))
    store = Store(where.store_url)
    try:
        opened = store.open_of(spec.name)  # what is asked for is what it was opened with, whatever the file says by now
        at = address(where, spec.name) if needed(spec, opened) else None
        router = EnvoyRouter(where.router(spec.name), spec.rollout.traffic, at)
        yield World(
            spec,
            where,
            store,
            MlflowRegistry(where.models),
            HereAndElsewhere(
                LocalPlatform(
                    where.replicas(spec.name),
                    spec.service.ready_within,
                    capture=where.capture(spec.name),
                    most=spec.service.resources.memory,
                ),
                ExternalPlatform(where.external(spec.name), spec.service.ready_within),
            ),
            router,
            EnvoySource(router),
            Keeper(where, spec),
        )
    finally:
        store.close()

"""A pipeline in memory with a real store and a real mark, for what happens beside its rollouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from lockgate.flows import wanted
from lockgate.flows.facts import facts_of
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.flows.world import World
from lockgate.rollout.state import Built, Commanded, Settled
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Endpoint, Routes
from lockgate.services.words import Bento

DOCUMENT = {
    "name": "fraud",
    "model": {"name": "fraud"},
    "rollout": {"steps": [{"canary": {"weight": 5}}], "gates": {"errors": {"metric": "error_rate"}}},
}


class Place:
    """Versions 1 and 2 are @champion and @challenger. `plane`: the loop's module, `router` and `registry`: fakes."""

    document = DOCUMENT

    def __init__(self, root: Path, plane: ModuleType, router: Callable[[Routes], Any], registry: Any) -> None:
        self.bento: Callable[[str], Bento] = lambda version: plane.bento("fraud", version)
        self.home = Home(root, f"sqlite:///{root}/state.db")
        self.store = Store(self.home.store_url)
        self.machine = plane.Machine()
        self.router = plane.DataPlane(router(Routes(())))
        self.router.fake.down = True
        self.registry = registry
        self.registry.put("fraud", 3)
        self.registry.aliases = {("fraud", "champion"): "1", ("fraud", "challenger"): "2"}

    def world(self, spec: Spec | None = None) -> Any:
        ports: Any = (self.registry, self.machine, self.router)
        beside: Any = SimpleNamespace()
        return World(spec or Spec.of(DOCUMENT), self.home, self.store, *ports, beside, beside)

    def serves(self, version: str) -> None:
        """As `lockgate up` left it: one replica of this version, routed to and wanted."""
        self.router.fake.down = False
        self.router.apply(Routes(self.at(version)))
        wanted.up(self.home, DOCUMENT, self.bento(version), 1.0)

    def at(self, version: str) -> tuple[Endpoint, ...]:
        """Where this version is, started if need be."""
        return tuple(Endpoint(one.host, one.port) for one in self.machine.start(self.bento(version), 1))

    def running(self) -> set[str]:
        return {one.bento for one in self.machine.up.values()}

    def opened(self, name: str = "fraud-1", stable: str = "1", candidate: str = "2", at: float = 2.0) -> Rollout:
        spec = Spec.of(DOCUMENT)
        subject = {"model": "fraud", "stable": stable, "candidate": candidate}
        rollout = Rollout(name, "fraud", spec.rollout, subject, spec.document, at, None)
        self.store.open(rollout, at)
        return rollout

    def built(self, rollout: Rollout) -> Rollout:
        made = {side: self.bento(rollout.subject[side]) for side in ("stable", "candidate")}
        self.store.append(rollout, self.store.last(rollout.id), Built(facts_of(made)), 3.0)
        return rollout

    def promoted(self, rollout: Rollout) -> None:
        """To its very end, as its driver does it: routes, mark, replicas, and then it is closed."""
        winner = rollout.subject["candidate"]
        for happening in (Commanded("promote", "ada"), Settled()):
            self.store.append(rollout, self.store.last(rollout.id), happening, 4.0)
        self.registry.aliases["fraud", "champion"] = winner
        self.router.apply(Routes(self.at(winner)))
        self.machine.die(f"fraud:{rollout.subject['stable']}")
        wanted.up(self.home, DOCUMENT, self.bento(winner), rollout.opened_at)
        self.store.close_rollout(rollout.id, 5.0)

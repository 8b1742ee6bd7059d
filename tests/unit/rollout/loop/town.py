"""All that a `lockgate run` sees, and as many of them as there are processes: real loop, real store, fake ports."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from lockgate.flows import command, drive, ending, healer, lease, release, stable, wanted
from lockgate.flows.approval import asking, desk
from lockgate.flows.approval import evidence as approval_evidence
from lockgate.flows.errors import NothingToDo
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.flows.world import World
from lockgate.registry.errors import RegistryError
from lockgate.rollout.advance import routes
from lockgate.rollout.errors import AlreadyOpen, Fenced, RouterError, StoreDown
from lockgate.rollout.state import Drifted
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.words import Endpoint, Routes
from lockgate.services.compile.words import ParityEvidence
from lockgate.services.errors import ServiceError
from lockgate.services.words import Bento, Build

MODEL = "fraud"
PROVEN = ParityEvidence(9, 0.0, 0.0, 1.0, "score", passed=True)
ENDS = (Fenced, AlreadyOpen, NothingToDo, RegistryError, RouterError, ServiceError, StoreDown)
"""What a `lockgate run` may say at its end."""


class Town:
    """One pipeline. `kit`: process.py and plane.py; `fakes`: of the contract tests."""

    def __init__(self, kit: SimpleNamespace, root: Path, document: Mapping[str, Any]) -> None:
        self.process, self.plane = kit.process, kit.plane
        self.spec = Spec.of(document)
        self.home = Home(root, "")
        self.store = Store(f"sqlite:///{root}/state.db")
        self._log = sqlite3.connect(root / "state.db")
        with self.store._engine.connect() as db:
            db.exec_driver_sql("pragma synchronous=off")  # it is processes that die here, not the machine
        self.registry = kit.registry()
        self.registry.put(MODEL, 9)
        self.registry.aliases = {(MODEL, a): v for a, v in (("champion", "1"), ("challenger", "2"), ("small", "3"))}
        self.machine = self.plane.Machine()
        self.router = self.plane.DataPlane(kit.router(Routes(())))
        self.router.fake.down = True
        self.traffic = self.plane.Traffic(self.router, self.machine)
        self.clock = self.plane.Clock(self._sleep)
        self.bentos: dict[str, Bento] = {}
        self.processes: list[Any] = []
        self.drifting = self.full = False
        self.better = "candidate"
        self.remote: set[str] = set()
        """Processes on another host, of whose death nobody hears."""
        self.spy = Spy(self)
        self._patched = ExitStack()
        self._patch(kit.process)

    def close(self) -> None:
        for one in self.processes:
            if not one.over:
                one.kill()
        self._patched.close()
        self._log.close()
        self.store.close()

    def _sleep(self) -> None:
        self.process.Process.current.sleep()

    def start(self, *, elsewhere: bool = False) -> Any:
        """Another `lockgate run` of the same spec."""
        number = len(self.processes) + 1
        name = f"elsewhere:{number}:0" if elsewhere else f"here:{number}:0"
        it = self.process.Process(name, self._run, ENDS)
        self.processes.append(it)
        return it

    @property
    def rollout(self) -> Rollout | None:
        """The one that was opened last, whatever the clock said then."""
        name, _ = self.sequence()
        return self.store.rollout(name) if name else None

    @property
    def last(self) -> Event | None:
        return self.store.last(self.rollout.id) if self.rollout else None

    def sequence(self) -> tuple[str, int]:
        """The newest rollout, and its last event; quicker than `last`."""
        query = "select rollout, max(sequence) from lockgate_events group by rollout order by rowid desc limit 1"
        return self._log.execute(query).fetchone() or ("", 0)

    def wanted(self) -> Routes | None:
        """What the state asks for, with bentos for endpoints; None while it asks for nothing, or stable is gone."""
        if self.rollout is None or self.last is None:
            return None
        world: Any = SimpleNamespace(platform=self.machine, spec=self.spec)
        sides = World.sides(world, self.last.state.facts)
        return self.named(routes(self.rollout.spec, self.last.state, sides, self.rollout.id))

    def served(self) -> Routes:
        return self.named(self.router.fake._routes)

    def named(self, of: Routes) -> Routes:
        tags = {Endpoint(r.host, r.port): r.bento for r in self.machine.up.values()}
        found: Routes = self.plane.with_names(of, tags)
        return found

    def champion(self) -> str:
        return str(self.registry.aliases[MODEL, "champion"])

    def _run(self, process: Any) -> object:
        """`lockgate run`."""
        watched = lambda of, it: self.process.Watched(of, it, process, self.spy)  # noqa: E731
        world: Any = World(
            self.spec,
            self.home,
            watched("store", self.store),
            watched("registry", self.registry),
            watched("platform", self.machine),
            watched("router", self.router),
            watched("source", self.traffic),
            SimpleNamespace(look=lambda: None, join=lambda: None),  # type: ignore[arg-type]
        )
        rollout = release.release(world, process.name, lambda _: None)
        letters: Any = self.plane.Letters(self.process.Thread)
        return drive.drive(world, rollout, process.name, lambda *_: None, outbox=letters)

    def _patch(self, process: ModuleType) -> None:
        """Only what is slow, or what a process has of its own: its clock, its threads, its life."""
        threads = SimpleNamespace(Thread=process.Thread, Event=process.Event)
        for module, name, stand_in in (
            (drive, "time", self.clock),
            (healer, "threading", threads),
            (drive, "Observation", lambda *_: self.plane.People(self.better)),
            (drive, "DriftWatch", SimpleNamespace(of=self._inputs)),
            (desk, "threading", threads),
            (ending, "time", self.clock),
            (command, "time", self.clock),
            (release, "time", self.clock),
            (lease, "threading", threads),
            (lease, "time", self.clock),
            (release, "build", self._build),
            (lease, "_runs", self._runs),
            (lease.socket, "gethostname", lambda: "here"),
            (stable, "build", self._build),
            (stable, "packaged", self.bentos.get),
            (wanted, "changing", self._changing),
            (asking.builds, "known", lambda *_: None),
            (approval_evidence.pictures, "of", lambda *_: {}),
        ):
            self._patched.enter_context(patch.object(module, name, stand_in))

    @contextmanager
    def _changing(self, *_: object) -> Iterator[None]:
        """The lock of the mark: one that is frozen there holds everybody up, as in the router's."""
        process = self.process.Process.current
        process.alone = True
        try:
            yield
        finally:
            process.alone = False

    def _build(self, _spec: Spec, version: Any, *_: object) -> Build:
        made = self.plane.bento(version.name, version.version)
        self.bentos[made.tag] = made
        return Build(made, PROVEN)

    def _inputs(self, world: World, rollout: Rollout) -> Any:
        told = [e.happening.drifting for e in world.store.events(rollout.id) if isinstance(e.happening, Drifted)]
        return self.plane.Inputs(lambda: self.drifting, bool(told and told[-1]))

    def _runs(self, number: int, _: str) -> bool:
        return not self.processes[number - 1].over


class Spy:
    """Sees every call, and what the log said at that moment and at the process's call before."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.believed: dict[Any, tuple[str, int]] = {}
        """The last event of its rollout that a process knows of."""
        self.checked: dict[Any, tuple[str, int]] = {}
        """The last event there was when it called anything last."""
        self.done: Counter[str] = Counter()

    def call(self, process: Any, what: str, real: Callable[..., Any], args: Any, more: Any) -> Any:
        there = self._town.sequence()
        if self._town.full and what.startswith("store."):
            raise StoreDown("the store does not answer: database or disk is full")
        if what == "router.apply":
            return self._applied(process, partial(real, *args, **more))
        if what == "registry.assign" and process in self.believed:
            assert self.believed[process] == self.checked[process], f"{process.name}: {what} on stale knowledge"
            self.done["slipped"] += self.checked[process] != there
        result = real(*args, **more)
        self.done[what] += 1
        if isinstance(result, Event):
            rollout = args[0] if what == "store.last" else args[0].id
            self.believed[process] = rollout, result.sequence
            there = self.believed[process] if what == "store.append" else there
        self.checked[process] = there
        return result

    def _applied(self, process: Any, real: Callable[[], bool]) -> bool:
        """It asks the store once more when nobody else can apply: what is changed is never stale."""
        router, process.alone = self._town.router.fake, True
        before = router.changes
        try:
            applied = real()
        finally:
            process.alone = False
        self.done["router.apply"] += 1
        self.checked[process] = self._town.sequence()
        self.done["refused as stale"] += not applied
        if router.changes != before and process in self.believed:
            assert self.believed[process] == self._town.sequence(), f"{process.name}: stale routes"
        return applied

"""What the loop moves, in memory: a data plane, replicas, people who are answered. Shared by all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Self

from lockgate.monitoring.measurement import Arm, Arrivals, Group, Histogram, Tally
from lockgate.rollout.errors import RouterDown, RouterRefused, SourceDown
from lockgate.rollout.ports import Observed, Observer, Span, Users, always
from lockgate.rollout.state import Drifted
from lockgate.rollout.words import WHOLE, Counts, Endpoint, Routes
from lockgate.services.errors import NotReady
from lockgate.services.words import Bento, Replica

EDGES = (5.0, 10.0, 20.0, float("inf"))
LIVE = 20_000
"""Requests in a second: enough for a gate to be decided at a step's second look."""


class Clock:
    """In place of the module `time`."""

    def __init__(self, sleep: Callable[[], None]) -> None:
        self.now = 1_700_000_000.0
        self.ticks = 0.0
        self._sleep = sleep

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.ticks

    def sleep(self, _: float) -> None:
        self._sleep()

    @staticmethod
    def strftime(*_: object) -> str:
        return "then"

    @staticmethod
    def gmtime(_: float) -> None: ...


class DataPlane:
    """The contract tests' router with the verbs that start it. `refuses`: every candidate."""

    def __init__(self, router: Any) -> None:
        self.fake = router
        self.refuses = False
        self.stuck = False
        """Whether it cannot be started again."""

    def running(self) -> bool:
        return not self.fake.down

    def start(self, routes: Routes, own: Callable[[], bool] = always) -> None:  # noqa: ARG002 - the router's
        if self.stuck:
            raise RouterDown("Envoy ended at its start")
        self.fake.down = False
        if not self.fake.applied().stable:
            self.fake.apply(routes)

    def renew(self, own: Callable[[], bool] = always) -> None: ...

    def start_again(self) -> None:
        if self.stuck:
            raise RouterDown("Envoy ended at its start")
        self.fake.down = False

    def apply(self, routes: Routes, still: Callable[[], bool] = always) -> bool:
        if self.refuses and routes.candidate:
            raise RouterRefused("no")
        return bool(self.fake.apply(routes, still))

    def applied(self) -> Routes:
        found: Routes = self.fake.applied()
        return found


class Machine:
    """A platform in memory. `broken`: tags of bentos whose replicas do not start."""

    def __init__(self) -> None:
        self.up: dict[str, Replica] = {}
        self.broken: set[str] = set()
        self._ports = count(10_000)

    def start(self, bento: Bento, count: int) -> Sequence[Replica]:
        if bento.tag in self.broken:
            raise NotReady(f"a replica of {bento.tag} is not ready: its process ended")
        kept = [r for r in self.up.values() if r.bento == bento.tag][:count]
        for _ in range(count - len(kept)):
            port = next(self._ports)
            kept.append(Replica(f"r{port}", bento.tag, "127.0.0.1", port, port))
        self.up |= {r.id: r for r in kept}
        return kept

    def stop(self, replicas: Sequence[Replica]) -> None:
        for one in replicas:
            self.up.pop(one.id, None)

    def replicas(self) -> Sequence[Replica]:
        return tuple(self.up.values())

    def watch(self, _: object) -> dict[str, str]:
        return {}

    def die(self, tag: str) -> None:
        self.stop([r for r in self.up.values() if r.bento == tag])


@dataclass
class Traffic:
    """Counts what each side answered. `bad`: bentos that fail three of ten requests."""

    plane: DataPlane
    machine: Machine
    bad: set[str] = field(default_factory=set)
    counts: dict[str, Tally] = field(default_factory=dict)
    down: bool = False

    def measure(self) -> Counts:
        if self.down:
            raise SourceDown("no measurements to be had")
        self.plane.applied()
        of = dict(self.counts)
        named = {side: of.pop(side, Tally()) for side in ("stable", "candidate", "shadow")}
        return Counts(**named, others=of)

    def second(self) -> None:
        """Live requests arrive, and are split as the routes say."""
        with suppress(RouterDown):
            routes = self.plane.applied()
            mine = LIVE * routes.weight // WHOLE if routes.candidate else 0
            self._answer("candidate", routes.candidate, mine)
            self._answer("shadow", routes.candidate, LIVE * routes.mirror // WHOLE)
            for other in routes.others:
                self._answer(other.name, other.endpoints, LIVE * other.weight // WHOLE)
                mine += LIVE * other.weight // WHOLE if other.endpoints else 0
            self._answer("stable", routes.stable, LIVE - mine)

    def _answer(self, side: str, by: tuple[Endpoint, ...], requests: int) -> None:
        if not by or not requests:
            return
        bentos = {Endpoint(r.host, r.port): r.bento for r in self.machine.up.values()}
        failed = requests * 3 // 10 if {bentos.get(one) for one in by} & self.bad else 0
        quick = Histogram(EDGES, (0, *[requests] * (len(EDGES) - 1)))
        self.counts[side] = self.counts.get(side, Tally()).plus(Tally(requests, failed, quick))


class People(Observer):
    """Users of an A/B test: half of those of `better` do what is hoped for, and a tenth of the others'."""

    feedback: dict[str, int] = {}  # noqa: RUF012 - never written

    def __init__(self, better: str) -> None:
        self._better = better

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def examples(self) -> list[Any]:
        return []

    def observe(self, span: Span) -> Observed:
        if not span.shares:
            return Observed()
        of = {name: self._users(name, shares[-1][1]) for name, shares in span.others.items()}
        own = self._users("candidate", span.shares[-1][1])
        return Observed(rewards=own.rewards, arrivals=own.arrivals, others=of)

    def _users(self, name: str, share: float) -> Users:
        mine = round(4000 * share)
        theirs = 4000 - mine
        done = float(mine // 2 if name == self._better else mine // 10)
        group = Group(share, Arm(theirs, theirs / 10, theirs / 10), Arm(mine, done, done))
        return Users({"conversion": (group,)}, (Arrivals(share, theirs, mine),))


@dataclass
class Inputs:
    """In place of the drift watch of one driver: `found` is what a comparison would find at this moment."""

    found: Callable[[], bool]
    drifting: bool
    last: None = None

    def look(self, _: float) -> Drifted | None:
        return Drifted(now, "x drifts") if (now := self.found()) != self.drifting else None

    def told(self, drifted: Drifted) -> None:
        self.drifting = drifted.drifting

    def close(self) -> None: ...


class Letters:
    """In place of the outbox: each letter is brought by a thread of its own, and may get lost."""

    def __init__(self, thread: Any) -> None:
        self._thread = thread

    def put(self, what: str, act: Callable[[], object]) -> None:
        if what.startswith("history"):
            return  # pages are drawn elsewhere

        def bring() -> None:
            with suppress(Exception):
                act()

        self._thread(bring).start()


def bento(model: str, version: str) -> Bento:
    return Bento(f"{model}:{version}", model, version, version * 64, "eager")


def with_names(routes: Routes, tags: dict[Endpoint, str]) -> Routes:
    """With bentos in place of ports, to be compared whatever was started again."""

    def named(by: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        return tuple(Endpoint(tags.get(one, "gone"), 0) for one in by)

    others = tuple(replace(one, endpoints=named(one.endpoints)) for one in routes.others)
    return replace(routes, stable=named(routes.stable), candidate=named(routes.candidate), others=others)

"""The crash matrix: points, several to a rollout, until each was struck."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.clients import Clients
from benchmarks.chaos.faults import BACK, HAND, UP, Point, Site
from benchmarks.chaos.invariants import left
from benchmarks.chaos.orders import Drivers
from benchmarks.chaos.rounds import Played, Round
from benchmarks.chaos.stage import Stage

GATES: dict[str, Any] = {"errors": {"metric": "error_rate", "margin": "20%"}}
ASKED = {"slo": {"query": "vector(0.01)", "max": 0.5, "every": "200ms", "count": 2}}
"""Where there is a Prometheus to ask."""
_QUICK: dict[str, Any] = {"timeout": "45s", "hold": {"min_requests": 20}}
STEPS: dict[str, list[dict[str, Any]]] = {
    UP: [{"shadow": {"percent": 100, **_QUICK}}, {"canary": {"weight": 50, **_QUICK}}],
    HAND: [{"canary": {"weight": 50, **_QUICK, "until": "held"}},
           {"canary": {"weight": 60, "timeout": "500ms", "hold": {"min_requests": 10_000}, "on_timeout": "hold"}}],
}  # fmt: skip
STEPS[BACK] = [{"canary": {"weight": 50, **_QUICK}}]
RATE = 250.0
TOGETHER = 8
"""Points in one rollout."""
_TRIES = 2
Seen = Callable[[Played, int], None]


@dataclass
class Found:
    """Of all points. `missed`: their site was not come by in several rollouts."""

    struck: list[dict[str, Any]] = field(default_factory=list)
    missed: int = 0
    breaches: list[str] = field(default_factory=list)
    rollouts: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    failures: int = 0
    """Of requests that met a dead router."""
    unforgiven: int = 0
    windows: list[float] = field(default_factory=list)
    """Seconds in which clients were refused, of each router that was killed and missed."""
    seconds: float = 0.0
    sites: int = 0

    def line(self) -> dict[str, Any]:
        return {
            "points": len(self.struck),
            "missed": self.missed,
            "sites": self.sites,
            "sites_struck": len({(one["phase"], one["site"]) for one in self.struck}),
            "rollouts": self.rollouts.total(),
            **{f"{phase}": count for phase, count in sorted(self.rollouts.items())},
            "requests": self.requests,
            "failed_while_the_router_was_dead": self.failures,
            "longest_window_s": max(self.windows, default=0.0),
            "broken_invariants": len(self.breaches),
            "seconds": round(self.seconds, 1),
        }


class Matrix:
    def __init__(self, stage: Stage, drivers: Drivers, clients: Clients) -> None:
        self._stage, self._drivers, self._clients = stage, drivers, clients
        self._together = TOGETHER // 2 if stage.servers else TOGETHER  # a server takes seconds to come back
        self.found = Found()
        self.catalogue: dict[str, list[Site]] = defaultdict(list)

    def learn(self) -> None:
        """Which sites there are: one rollout of each kind to which nothing happens."""
        for kind in STEPS:
            self.play(kind, [])

    def play(self, kind: str, points: list[Point]) -> Played:
        self._stage.write(steps=STEPS[kind])
        played = Round(self._stage, self._drivers, self._clients, kind).play(points)
        self.found.breaches += [f"{sentence} [{_told(points, played)}]" for sentence in played.breaches]
        self.found.rollouts[played.phase] += 1
        self.found.failures += len(played.failures) - played.unforgiven
        self.found.unforgiven += played.unforgiven
        self.found.windows += played.windows.values()
        if not points:
            self.catalogue[kind] = sorted(set(played.seen))
            self.found.sites = len({site for sites in self.catalogue.values() for site in sites})
        return played

    def strike(self, points: Iterable[Point], seen: Seen, enough: float = math.inf) -> None:
        """Play them, several of one kind in a rollout, until `enough` were struck.

        One that was not come by comes again, and then is left out.
        """
        waiting: dict[str, list[Point]] = defaultdict(list)
        for point in points:
            waiting[point.kind].append(point)
        tries: Counter[int] = Counter()
        while any(waiting.values()) and len(self.found.struck) < enough:
            kind = min((one for one in waiting if waiting[one]), key=lambda one: waiting[one][0].number)
            now, waiting[kind] = waiting[kind][: self._together], waiting[kind][self._together :]
            played = self.play(kind, now)
            for point in now:
                tries[point.number] += 1
                if point.number in played.fired:
                    self.found.struck.append(result(point, played))
                elif tries[point.number] < _TRIES:
                    waiting[kind].append(point)
                else:
                    self.found.missed += 1
            seen(played, len(self.found.struck))


def result(point: Point, played: Played) -> dict[str, Any]:
    where = played.fired[point.number]
    found = {**point.document(), "phase": where["phase"], "site": where["site"], "ended": played.phase}
    return found | {"window": played.windows.get(point.number), "broken": played.breaches}


def _told(points: list[Point], played: Played) -> str:
    """What had been done, to find it again."""
    struck = [f"{point.fault}, {point.phase}, {point.site}" for point in points if point.number in played.fired]
    return f"{played.kind}; " + ("; ".join(struck) or "nothing was done")


@contextmanager
def under_load(stage: Stage, rate: float = RATE) -> Iterator[Matrix]:
    """With drivers ready, stable served and clients asking. Ends with `lockgate down`, and a look at what is left."""
    began = time.monotonic()
    with Drivers(stage) as drivers:
        stage.write(steps=STEPS[UP], gates=GATES | (ASKED if stage.servers else {}))
        drivers.serve()
        with Clients(stage.url, rate) as clients:
            clients.until_answered(10)
            matrix = Matrix(stage, drivers, clients)
            yield matrix
        matrix.found.requests = clients.asked
        matrix.found.seconds = time.monotonic() - began
    stage.must("down", str(stage.spec))
    matrix.found.breaches += left(stage)

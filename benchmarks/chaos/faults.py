"""What can be done to whom, how often it is drawn, and what may come of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lockgate.rollout.words import Phase

Site = tuple[str, str]
"""A phase, and what is done there."""
UP, BACK, HAND = "up", "back", "hand"
"""Rollouts: of a good candidate, of a broken one, and one that waits until a person promotes."""
_PROMOTED, _BACK, _FAILED = {str(Phase.SUCCEEDED)}, {str(Phase.ROLLED_BACK)}, {str(Phase.FAILED)}


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    act: str
    who: str = ""
    """driver, router, stable, candidate (one replica), candidates (all of them), or one of `servers.NAMES`."""
    seconds: float = 0.0
    """How long it lasts."""
    share: int = 1
    """Of the points, relative to the others."""

    @property
    def harms_candidate(self) -> bool:
        return self.who in ("candidate", "candidates")


LEASE_OVER = 2.2
"""Seconds: longer than a driver's lease, and another driver has taken over."""
FAULTS = (
    Fault("kill the driver", "kill", "driver", share=44),
    Fault("freeze the driver for a moment", "freeze", "driver", 0.4, share=5),
    Fault("freeze the driver for longer than its lease", "freeze", "driver", LEASE_OVER, share=7),
    Fault("kill the router", "kill", "router", share=8),
    Fault("freeze the router", "freeze", "router", 0.8, share=4),
    Fault("kill one of two stable replicas", "kill", "stable", share=8),
    Fault("freeze one of two stable replicas", "freeze", "stable", 0.8, share=3),
    Fault("kill one of two candidate replicas", "kill", "candidate", share=6),
    Fault("kill all candidate replicas", "kill", "candidates", share=4),
    Fault("freeze one of two candidate replicas", "freeze", "candidate", 0.8, share=3),
    Fault("fill the disk", "fill", seconds=0.8, share=4),
    Fault("lock the state database", "lock", seconds=0.8, share=4),
)
SERVED = (
    Fault("kill the MLflow server", "kill", "mlflow", 2.0, share=5),
    Fault("freeze the MLflow server", "freeze", "mlflow", 3.0, share=4),
    Fault("kill the Prefect server", "kill", "prefect", 2.0, share=3),
    Fault("freeze the Prefect server", "freeze", "prefect", 3.0, share=3),
    Fault("kill the Prometheus server", "kill", "prometheus", 2.0, share=4),
    Fault("freeze the Prometheus server", "freeze", "prometheus", 3.0, share=3),
    *(replace(fault, share=2) for fault in FAULTS if fault.who in {"driver", "router"}),
)
"""Where MLflow, Prefect and Prometheus are servers. They come back so long after a kill."""
BY_NAME = {fault.name: fault for fault in (*FAULTS, *SERVED)}


@dataclass(frozen=True, slots=True)
class Point:
    """One fault at one site of one kind of rollout."""

    number: int
    fault: str
    kind: str
    phase: str
    site: str
    nth: int = 1

    @property
    def arm(self) -> dict[str, Any]:
        """As a driver is told of it."""
        fault = BY_NAME[self.fault]
        how = {"point": self.number, "act": fault.act, "who": fault.who, "seconds": fault.seconds}
        return how | {"phase": self.phase, "site": self.site, "nth": self.nth}

    @property
    def order(self) -> tuple[int, int]:
        return _order(self.phase), self.number

    def document(self) -> dict[str, Any]:
        return asdict(self)


_REPEATED = ("progressing", "waiting")
"""Phases of many ticks: a site may be struck when it is come by again."""
_AGAIN = 0.3
_UNBUILT = ("opening", "building")
_PHASES = ("opening", "building", "progressing", "waiting", "promoting", "succeeded", "rolling_back", "rolled_back")


def _order(phase: str) -> int:
    name, _, step = phase.partition("/")
    return _PHASES.index(name) * 10 + int(step or 0) if name in _PHASES else 99


def possible(*, disk: bool, servers: bool = False) -> tuple[Fault, ...]:
    """`disk`: whether it can be filled. `servers`: whether there are any; they, drivers and the router are struck."""
    return SERVED if servers else tuple(fault for fault in FAULTS if disk or fault.act != "fill")


def planned(catalogue: dict[str, list[Site]], count: int, seed: int, faults: Sequence[Fault] = FAULTS) -> list[Point]:
    """Points drawn evenly from the kinds and their phases, and in each phase from its sites."""
    dice = random.Random(seed)  # noqa: S311 - a plan that can be drawn again
    kinds = [kind for kind in (*[UP] * 3, BACK, HAND) if kind in catalogue]
    found = []
    for number in range(count):
        kind = dice.choice(kinds)
        phases = sorted({phase for phase, _ in catalogue[kind]})
        phase = dice.choice(phases)
        site = dice.choice(sorted(site for at, site in catalogue[kind] if at == phase))
        [fault] = dice.choices(faults, [fault.share for fault in faults])
        again = phase.startswith(_REPEATED) and dice.random() < _AGAIN
        found.append(Point(number, fault.name, kind, phase, site, 1 + again))
    return found


def allowed(kind: str, faults: Sequence[tuple[str, str]]) -> set[str]:
    """The phases in which a rollout may end in which these faults happened, each in its phase.

    Without a registry nobody knows which versions are to be served: a rollout that is being built is given up.
    """
    harmed = any(BY_NAME[name].harms_candidate for name, _ in faults)
    unknown = any(BY_NAME[name].who == "mlflow" and phase.startswith(_UNBUILT) for name, phase in faults)
    wanted = _BACK if kind == BACK else _PROMOTED
    return {*wanted, *(_BACK if harmed else ()), *(_FAILED if harmed or unknown else ())}

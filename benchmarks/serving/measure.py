"""All sides of one model, in turn: each round asks every one of them in every way, while the others are frozen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import trees
from .load import Answered, closed, opened
from .side import Side

_SETTLE = 0.2
_WARM = 1.0
"""Seconds of requests before anything is measured: first calls, caches, thread pools."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """`connections`: of the closed loop. `rates`: requests a second of the open loop, ascending.

    `bound`: milliseconds that p99 may be at most.
    """

    connections: tuple[int, ...]
    rates: tuple[float, ...]
    seconds: float
    rounds: int
    bound: float
    form: str = "json"


@dataclass(frozen=True, slots=True)
class Closed:
    """CPU in microseconds for each request: of the server, and of the router in front of it."""

    load: Answered
    cpu: float
    router_cpu: float


@dataclass
class Measured:
    """`closed` by connections, one for each round; `opened` by rate and round, without rounds that did not reach it."""

    side: Side
    closed: dict[int, list[Closed]] = field(default_factory=lambda: defaultdict(list))
    opened: dict[float, dict[int, Answered]] = field(default_factory=lambda: defaultdict(dict))
    memory: int = 0
    lost: str = ""


@dataclass
class Limit:
    """Calls a second in each round: the engine alone, and with decoding and encoding around it."""

    engine: list[float] = field(default_factory=list)
    json: list[float] = field(default_factory=list)


def measure(sides: Sequence[Side], plan: Plan, k6: Path, model: Path, say: Say) -> tuple[list[Measured], Limit]:
    """The sides are frozen before and after. One that fails is out of the later rounds; `lost` says why."""
    found = [Measured(side) for side in sides]
    limit = Limit()
    for one in found:
        _alone(one, lambda one=one: _warm(one, plan))
    for number in range(plan.rounds):
        turn = found[number % len(found) :] + found[: number % len(found)]
        for connections in plan.connections:
            for one in turn:
                _alone(one, lambda one=one, c=connections: one.closed[c].append(_closed(one.side, c, plan)))
        _limit(limit, plan, model)
        say(f"round {number + 1}/{plan.rounds}, closed: {_told(found, plan)}; engine alone {limit.engine[-1]:.0f}/s")
        for one in turn:
            _alone(one, lambda one=one, n=number: _climb(one, n, plan, k6))
        reached = ", ".join(f"{one.side.name} {max(one.opened, default=0):g}" for one in found)
        say(f"round {number + 1}/{plan.rounds}, open, highest rate tried: {reached}")
    return found, limit


def _alone(one: Measured, do: Callable[[], None]) -> None:
    if one.lost:
        return
    one.side.thaw()
    time.sleep(_SETTLE)
    try:
        do()
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        one.lost = str(error).partition("\n")[0]
    finally:
        one.side.freeze()


def _warm(one: Measured, plan: Plan) -> None:
    closed(one.side.target, max(plan.connections), _WARM)
    one.memory = trees.memory(one.side.everything())


def _closed(side: Side, connections: int, plan: Plan) -> Closed:
    """CPU is taken over the run alone; the load generator's own start is some 10 ms of it."""
    members = side.processes()
    envoy = [side.router] if side.router else []
    before, router = trees.cpu(members), trees.cpu(envoy)
    load = closed(side.target, connections, plan.seconds)
    used, routed = trees.spent(before, trees.cpu(members)), trees.spent(router, trees.cpu(envoy))
    if not load.requests or load.failed > 0.01 * load.requests:
        raise RuntimeError(f"{load.failed} of {load.requests} requests failed at {connections} connections")
    return Closed(load, 1e6 * used / load.requests, 1e6 * routed / load.requests)


def _climb(one: Measured, number: int, plan: Plan, k6: Path) -> None:
    """From the lowest rate to the first one that is not held."""
    for rate in plan.rates:
        load = opened(k6, one.side.target, rate, plan.seconds)
        one.opened[rate][number] = load
        if not load.held(plan.bound):
            return


def _limit(limit: Limit, plan: Plan, model: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.serving.limit", str(model), plan.form, f"{plan.seconds / 2:g}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout.splitlines()[-1])
    limit.engine.append(found["engine"])
    limit.json.append(found["json"])


def _told(found: Sequence[Measured], plan: Plan) -> str:
    best = plan.connections[-1]
    return ", ".join(f"{o.side.name} {o.closed[best][-1].load.rps:.0f}/s" for o in found if o.closed[best])

"""Ways measured in turn: what the machine does meanwhile falls on all of them alike."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.router.load import Figures, load
from benchmarks.router.servers import Way

WARM = 1.0
DIRECT, HAPROXY, ROUTER, SHADOW = "direct", "haproxy", "router", "router with a shadow"

Rounds = Mapping[str, Sequence[Figures]]
"""By the way's name, one for each round."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds`: of each way in each round, whole ones."""

    lua: Path
    rounds: int
    seconds: float


def alternately(ways: Sequence[Way], connections: int, plan: Plan) -> Rounds:
    """Another one begins each round."""
    for way in ways:
        load(way.address, plan.lua, connections, WARM)
    found: dict[str, list[Figures]] = {way.name: [] for way in ways}
    for turn in range(plan.rounds):
        for i in range(len(ways)):
            way = ways[(turn + i) % len(ways)]
            found[way.name].append(load(way.address, plan.lua, connections, plan.seconds, way.pids))
    for name in found:
        rps, p50, p99, cpu = (median(found, name, field) for field in ("rps", "p50", "p99", "cpu"))
        row = f"{rps:8.0f} requests/s, p50 {p50:7.0f} us, p99 {p99:7.0f} us, CPU {cpu:6.1f} us"
        print(f"c={connections:<3} {name:24} {row}", file=sys.stderr)
    return found


def median(rounds: Rounds, name: str, field: str) -> float:
    return statistics.median(_values(rounds, field, name))


def ratio(rounds: Rounds, field: str, of: str, over: str) -> float:
    """The median of each round's own ratio."""
    pairs = zip(_values(rounds, field, of), _values(rounds, field, over), strict=True)
    return statistics.median(a / b for a, b in pairs)


def added(rounds: Rounds, field: str, of: str, to: str) -> float:
    """The median of each round's own difference."""
    pairs = zip(_values(rounds, field, of), _values(rounds, field, to), strict=True)
    return statistics.median(a - b for a, b in pairs)


def _values(rounds: Rounds, field: str, name: str) -> list[float]:
    return [float(getattr(one, field)) for one in rounds[name]]

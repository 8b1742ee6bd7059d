"""What a tick costs, by how many rollouts are open: rounds in turn, so that what else runs here strikes all alike."""

from __future__ import annotations

import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.control.fleet import ME, Place, copied, lived, place
from lockgate.rollout.controller import Controller
from lockgate.rollout.store import Store

SOME = (1, 10, 100, 1000)
ROUNDS, TICKS = 7, 120
"""How often each number of rollouts is timed, and over how many ticks."""
LOOKS = 8640
"""In three days, where they are half a minute apart."""
_FEW = 100
"""In as many days, for comparison: what a tick costs is not to depend on the length of the log."""
_LOOKS = 100_000
"""Rows of looks in one store: with a thousand rollouts, each has a part of its own."""
_LEASED = 4
"""A lease is written at every fourth tick: as many fall due at each moment, also where a round ticks each once."""
_MIB = 2**20
_say = Console(stderr=True, highlight=False)


@dataclass
class Fleet:
    """So many rollouts, ticked one after the other as time goes by, each once a second."""

    controllers: Sequence[Controller]
    now: float
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    memory: float = 0.0
    """MiB that each one took when it had ticked once."""

    def __post_init__(self) -> None:
        self._turn = itertools.cycle(self.controllers)
        self._ticks = 0

    def tick(self) -> None:
        next(self._turn).tick(ME, self.now + self._ticks // len(self.controllers))
        self._ticks += 1

    def round(self) -> None:
        """CPU and wall milliseconds of a tick, over `TICKS` of them."""
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(TICKS):
            self.tick()
        self.cpu.append((time.process_time() - cpu) / TICKS * 1e3)
        self.wall.append((time.perf_counter() - wall) / TICKS * 1e3)


def measured(some: Sequence[int] = SOME, looks: int = LOOKS, rounds: int = ROUNDS) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        at = stack.enter_context(place(Path(folder)))
        old = _aged(at, looks)
        fleets = {str(number): _fleet(stack, at, old, number) for number in some}
        fleets["long_history"] = _fleet(stack, at, old, 1)
        fleets["short_history"] = _fleet(stack, at, _aged(at, min(_FEW, looks)), 1)
        for turn in range(rounds):
            for fleet in fleets.values():
                fleet.round()
            _say.print(f"round {turn + 1}: " + ", ".join(f"{n}: {of.cpu[-1]:.2f} ms" for n, of in fleets.items()))
        return dict(_figures(fleets))


Aged = tuple[Path, float, int]
"""A store with one rollout that has lived, when that is, and its looks."""


def _aged(at: Place, looks: int) -> Aged:
    _say.print(f"a rollout lives through three days and {looks} looks")
    return *lived(at, looks), looks


def _fleet(stack: ExitStack, at: Place, aged: Aged, number: int) -> Fleet:
    """So many copies of the rollout, each of which has ticked once."""
    file, now, looks = aged
    _say.print(f"{number} of them")
    db = at.folder / f"{number}-of-{looks}-{time.monotonic_ns()}.db"
    names = copied(file, db, number, min(looks, _LOOKS // number))
    store = stack.enter_context(closing(Store(f"sqlite:///{db}")))
    before = _resident()
    fleet = Fleet([at.controller(store, name) for name in names], now + 1)
    for turn, controller in enumerate(fleet.controllers):
        controller.tick(ME, now - turn % _LEASED)
    fleet.memory = (_resident() - before) / number
    return fleet


def _figures(fleets: Mapping[str, Fleet]) -> Iterator[tuple[str, float]]:
    for name, fleet in fleets.items():
        yield f"tick_ms_{name}", round(statistics.median(fleet.cpu), 2)
        yield f"tick_wall_ms_{name}", round(statistics.median(fleet.wall), 2)
    numbers = sorted(int(name) for name in fleets if name.isdigit())
    least, most = fleets[str(numbers[0])], fleets[str(numbers[-1])]
    yield "tick_linear", _ratio(least, most)
    yield "history_ratio", _ratio(fleets["short_history"], fleets["long_history"])
    yield "mib_per_rollout", round(most.memory, 3)


def _ratio(one: Fleet, other: Fleet) -> float:
    """Within each round: what else runs here strikes both."""
    return round(statistics.median(b / a for a, b in zip(one.cpu, other.cpu, strict=True)), 2)


def _resident() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / _MIB)

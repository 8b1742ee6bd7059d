"""Rollouts back to back under load, with faults drawn at random: python -m benchmarks.soak --minutes 10.

Two pipelines run side by side. In one, rollouts follow one another and are struck as in the crash matrix. In the other
one rollout is held at half of the traffic for the whole time, and one driver drives it: a driver lives as long as its
rollout, so this is the controller that lives longest, and it ticks ten times as often as a real one. Every ten seconds
memory, open files, processes and disk are read. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from benchmarks.chaos.clients import Clients
from benchmarks.chaos.faults import BACK, HAND, UP, Fault, planned, possible
from benchmarks.chaos.invariants import left
from benchmarks.chaos.matrix import GATES, STEPS, TOGETHER, Matrix, under_load
from benchmarks.chaos.orders import Drivers
from benchmarks.chaos.stage import NAME, Stage, opened, until
from benchmarks.soak.samples import MIB, Sample, fitted, slope, taken
from lockgate.flows.command import record
from lockgate.rollout.state import Commanded
from lockgate.rollout.words import Phase

EVERY = 10.0
_HELD_RATE, _RATE = 100.0, 150.0
_WARM = 1 / 3
"""Of the time: what is read in it says nothing of growth."""
_FLAT = 1.0
"""MiB per hour of memory, below which nothing grows."""
_PARTS = ("controller", "envoy")
_say = Console(stderr=True, highlight=False)


@dataclass
class Held:
    """The pipeline whose one rollout lasts."""

    stage: Stage
    drivers: Drivers
    clients: Clients
    controller: int
    samples: list[Sample] = field(default_factory=list)

    def over(self) -> None:
        """A person ends it; the driver brings stable back, and ends."""
        with self.stage.store() as store:
            [rollout] = store.rollouts(NAME)
            record(store, rollout, Commanded("abort", "a person"))
            until("the held rollout is over", lambda: store.rollout(rollout.id).closed_at)
            until("its driver has ended", lambda: self.controller in self.drivers.ended)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of rollouts under load")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    asked = parser.parse_args()
    line = soak(asked.minutes, asked.seed)
    print(json.dumps(line))
    return int(bool(line["failures"] or line["leaked_processes"] or line["broken_invariants"] or grows(line)))


def grows(line: dict[str, Any]) -> list[str]:
    """The parts whose memory is proven to grow."""
    slopes = {part: line[f"rss_slope_{part}_mib_per_hour"] for part in _PARTS}
    about = {part: line[f"rss_slope_{part}_plus_or_minus"] for part in _PARTS}
    return [part for part, by in slopes.items() if by is not None and by - about[part] > _FLAT]


def soak(minutes: float, seed: int) -> dict[str, Any]:
    began = time.monotonic()
    steps = [{"canary": {"weight": 50, "timeout": "30d", "hold": {"min_requests": 20, "duration": "29d"}}}]
    with (
        opened({"steps": steps, "gates": GATES}) as lasting,
        opened({"steps": STEPS[UP], "gates": GATES}) as busy,
        Drivers(lasting) as drivers,
    ):
        held, struck = _held(lasting, drivers), list[Sample]()
        with held.clients:
            _begin(held)
            with under_load(busy, _RATE) as it:
                _rounds(
                    it,
                    possible(disk=busy.own_disk),
                    (seed, began + minutes * 60),
                    lambda: _sample(held, struck, busy, began),
                )
            held.over()
        lasting.must("down", str(lasting.spec))
        leaked = left(lasting, [drivers.pid])
        samples = held.samples
        line = _line(samples, struck, it, held)
        line |= {"minutes": round((time.monotonic() - began) / 60, 1), "seed": seed}
    for sentence in (*leaked, *it.found.breaches):
        _say.print(sentence, style="red", markup=False)
    processes = [one for one in (*leaked, *it.found.breaches) if "still runs" in one or "is left" in one]
    return {"minutes": line.pop("minutes"), **line, "leaked_processes": len(processes)}


def _held(stage: Stage, drivers: Drivers) -> Held:
    drivers.serve()
    return Held(stage, drivers, Clients(stage.url, _HELD_RATE), 0)


def _begin(held: Held) -> None:
    held.stage.alias("challenger", "2")
    held.controller = held.drivers.start([])

    def progressing() -> bool:
        with held.stage.store() as store:
            found = store.rollouts(NAME)
            return bool(found) and store.last(found[0].id).state.phase is Phase.PROGRESSING

    until("the rollout that is held has begun", progressing)


def _rounds(it: Matrix, faults: Sequence[Fault], until_when: tuple[int, float], sample: Callable[[], None]) -> None:
    """Until the time is over: rollouts, each with some faults, in an order that the seed decides."""
    it.learn()
    number, (seed, end) = 0, until_when
    while time.monotonic() < end:
        for kind in (UP, BACK, UP, HAND):
            plan = planned({kind: it.catalogue[kind]}, TOGETHER, seed * 10_000 + number, faults)
            it.play(kind, plan[: TOGETHER // 2])
            number += 1
            sample()
            if time.monotonic() > end:
                return


def _sample(held: Held, struck: list[Sample], busy: Stage, began: float) -> None:
    now = time.monotonic() - began
    if held.samples and now - held.samples[-1].at < EVERY:
        return
    held.samples.append(taken(held.stage, began, held.controller))
    struck.append(taken(busy, began, 0))
    one = held.samples[-1]
    memory = ", ".join(f"{part} {size / MIB:.1f} MiB, {one.files[part]} files" for part, size in one.memory.items())
    disk = f"{(one.disk + struck[-1].disk) / MIB:.1f} MiB of disk"
    _say.print(f"{now:5.0f} s: {memory}; {one.processes} + {struck[-1].processes} processes; {disk}")


def _line(samples: Sequence[Sample], struck: Sequence[Sample], it: Matrix, held: Held) -> dict[str, Any]:
    warm = samples[int(len(samples) * _WARM) :]
    found = it.found
    line: dict[str, Any] = {
        "rollouts": found.rollouts.total() + 1,
        "requests": found.requests + held.clients.asked,
        "failures": found.unforgiven + len(held.clients.failures),
        "failed_while_the_router_was_dead": found.failures,
        "routers_killed": len(found.windows),
        "longest_window_s": max(found.windows, default=0.0),
        "median_window_s": _round(statistics.median(found.windows or [0.0])),
        "broken_invariants": len(found.breaches),
        "leaked_fds": max(0, _files(warm[-5:]) - _files(warm[:5])),
    }
    for part in _PARTS:
        by, about = slope(warm, part)
        line |= {f"rss_slope_{part}_mib_per_hour": _round(by), f"rss_slope_{part}_plus_or_minus": _round(about)}
    both = [pair for pair in zip(samples, struck, strict=True) if pair[0] in warm]
    for kind in ("logs", "state"):
        disks = [(a.at / 3600, (getattr(a, kind) + getattr(b, kind)) / MIB) for a, b in both]
        line |= {f"disk_{kind}_mib": round(disks[-1][1], 1) if disks else 0.0}
        line |= {f"disk_{kind}_slope_mib_per_hour": _round(fitted(disks)[0])}
    return {**line, "samples": len(samples)}


def _files(samples: Sequence[Sample]) -> int:
    """Open files of the controller and of Envoy, which nothing strikes in the held rollout."""
    found = [one.files.get("controller", 0) + one.files.get("envoy", 0) for one in samples]
    return int(statistics.median(found)) if found else 0


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)


if __name__ == "__main__":
    sys.exit(main())

"""The smallest regression that a step would nearly always find, searched for with the judge itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from lockgate.rollout.analysis.batch import Batch
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.forecast_traffic import Candidate, Draws, Traffic, slowed
from lockgate.rollout.analysis.forecast_trial import Watch, foreseen
from lockgate.rollout.gates import Disagreement, ErrorRate, Gate, Latency
from lockgate.rollout.spec import RolloutSpec, options

POWER = 0.8
"""The share of simulated rollouts that find it."""
_LEVELS = 9
_ROLLOUTS = (16, 32)
"""For each level of the rough search, and of the fine one."""
_SLOWEST = 20.0
_MOST = 0.95
_RAREST = 1e-4


def smallest(spec: RolloutSpec, index: int, traffic: Traffic, rng: np.random.Generator) -> dict[str, float | None]:
    """By gate: the candidate's error rate, the factor of its latencies, or the share of its answers that differ.

    It begins with the step, in a candidate that was stable's equal until then. None: not even the largest is found.
    """
    search = _Search(spec, index, traffic, rng)
    names = foreseen(spec, spec.steps[index])
    rough = {name: _levels(spec.gates[name], traffic) for name in names}
    found = search.found(rough, _ROLLOUTS[0]) if names else {}
    fine = {name: finer for name in names if (finer := around(rough[name], found[name])) is not None}
    for turn in _turns(spec, tuple(fine)):
        found |= search.found({name: fine[name] for name in turn}, _ROLLOUTS[1])
    return {name: crossing(fine[name], found[name]) if name in fine else None for name in names}


def _levels(gate: Gate, traffic: Traffic) -> Array:
    """Rising effects, from one that nobody minds to the largest."""
    if isinstance(gate, Latency):
        return np.geomspace(1.05, _SLOWEST, _LEVELS)
    least = traffic.error_rate if isinstance(gate, ErrorRate) else traffic.differing
    return np.geomspace(min(1.1 * max(least, _RAREST), _MOST / 2), _MOST, _LEVELS)


def around(levels: Array, shares: Array) -> Array | None:
    """Finer levels around the first one that is found; nothing where none is."""
    rising = _rising(shares)
    if rising[-1] < POWER:
        return None
    place = int(np.argmax(rising >= POWER))
    return np.geomspace(levels[max(0, place - 1)], levels[min(place + 1, len(levels) - 1)], _LEVELS)


def crossing(levels: Array, shares: Array) -> float:
    """Where the share that is found reaches `POWER`, between two levels by their logarithms."""
    rising = _rising(shares)
    if rising[-1] < POWER:
        return float(levels[-1])
    place = int(np.argmax(rising >= POWER))
    if place == 0:
        return float(levels[0])
    part = (POWER - rising[place - 1]) / (rising[place] - rising[place - 1])
    return float(levels[place - 1] * (levels[place] / levels[place - 1]) ** part)


def _rising(shares: Array) -> Array:
    """The nearest shares that rise: what is found more often at a smaller effect is chance (pooled violators)."""
    pools: list[tuple[float, int]] = []
    for share in shares:
        pool = (float(share), 1)
        while pools and pools[-1][0] >= pool[0]:
            mean, size = pools.pop()
            pool = ((mean * size + pool[0] * pool[1]) / (size + pool[1]), size + pool[1])
        pools.append(pool)
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])


def _turns(spec: RolloutSpec, names: tuple[str, ...]) -> list[list[str]]:
    """Gates that can be tried side by side: one of each kind, since a candidate has one error rate."""
    kinds: dict[type, list[str]] = {}
    for name in names:
        kinds.setdefault(type(spec.gates[name]), []).append(name)
    return [[name for name in turn if name] for turn in zip_longest(*kinds.values())]


@dataclass(slots=True)
class _Search:
    spec: RolloutSpec
    index: int
    traffic: Traffic
    rng: np.random.Generator

    def found(self, levels: Mapping[str, Array], rollouts: int) -> dict[str, Array]:
        """(L,) of each gate: the share of rollouts that it fails. Gates of one kind must have the same levels."""
        many = _LEVELS * rollouts
        draws = Draws(self.traffic, self._candidate(levels, rollouts), self.rng)
        step = options(self.spec.steps[self.index])
        trial = Watch(self.spec, Batch(self.spec, many), draws, alone=True, rough=True).step(self.index, step.timeout)
        return {
            name: np.isfinite(trial.failed[name].seconds).reshape(_LEVELS, rollouts).mean(axis=1) for name in levels
        }

    def _candidate(self, levels: Mapping[str, Array], rollouts: int) -> Candidate:
        of = {type(self.spec.gates[name]): np.repeat(values, rollouts) for name, values in levels.items()}
        ones = np.ones(_LEVELS * rollouts)
        return Candidate(
            of.get(ErrorRate, ones * self.traffic.error_rate),
            slowed(self.traffic, of[Latency]) if Latency in of else np.zeros((len(ones), 0)),
            of.get(Disagreement, ones * self.traffic.differing),
        )

"""Simulated users: what they do, how they are split, and what a test with a fixed horizon would need."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, pi

import numpy as np
from numpy.typing import NDArray

from lockgate.rollout.analysis.seen import BatchArm, BatchGroup

Floats = NDArray[np.float64]

LOOK = 50
"""Users between two looks."""
_DAY, _SWING = 8000, 0.5
"""Users in a day, and how far its wave goes up and down."""
_Z95, _Z80 = 1.959964, 0.841621


@dataclass(frozen=True, slots=True)
class Law:
    """What a user does: nothing, or with the chance `share` something; with `sigma`, a lognormal amount of mean 1."""

    name: str
    share: float
    sigma: float | None = None

    @property
    def kind(self) -> str:
        return "binary" if self.sigma is None else "continuous"

    def spread(self, times: float) -> tuple[float, float]:
        """Mean and variance of a user whose chance (for amounts, whose amount) is `times` the law's."""
        if self.sigma is None:
            mean = self.share * times
            return mean, mean * (1 - mean)
        mean = self.share * times
        return mean, self.share * times**2 * exp(self.sigma**2) - mean**2

    def arm(self, rng: np.random.Generator, units: Floats, times: Floats | float) -> BatchArm:
        """What `units` (R,) users do who are `times` as good."""
        if self.sigma is None:
            did = rng.binomial(units.astype(np.int64), self.share * times).astype(np.float64)
            return BatchArm(units, did, did)
        width = max(1, int(units.max()))
        there = np.arange(width) < units[:, None]
        buys = there & (rng.random(there.shape) < self.share)
        value = np.exp(self.sigma * rng.standard_normal(there.shape) - self.sigma**2 / 2) * buys
        value *= np.broadcast_to(times, units.shape)[:, None]
        return BatchArm(units, value.sum(axis=1), (value**2).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of rollout."""

    law: Law
    weight: float
    lift: float = 0.0
    wave: bool = False
    """The common rate rises and falls with the time of day."""
    thompson: bool = False

    @property
    def name(self) -> str:
        extra = [word for word, on in (("wave", self.wave), ("Thompson", self.thompson)) if on]
        return " ".join([self.law.name, *extra])

    def horizon(self) -> float:
        """Users of both sides of a two-sided z-test at alpha 5 % with 80 % power, looked at once at its end."""
        mine, theirs = self.law.spread(1 + self.lift), self.law.spread(1.0)
        variance = mine[1] / self.weight + theirs[1] / (1 - self.weight)
        return float((_Z95 + _Z80) ** 2 * variance / (mine[0] - theirs[0]) ** 2)


class Users:
    """Of R rollouts of one cell, in looks of 50."""

    def __init__(self, cell: Cell, rollouts: int, rng: np.random.Generator) -> None:
        self._cell, self._rng, self._came = cell, rng, 0
        self.share: Floats = np.full(rollouts, cell.weight)
        self._sums = np.zeros((2, 3, rollouts))

    def come(self) -> BatchGroup:
        cell, rng = self._cell, self._rng
        self._came += LOOK
        rate = 1 + _SWING * np.sin(2 * pi * self._came / _DAY) if cell.wave else 1.0
        units = rng.binomial(LOOK, self.share).astype(np.float64)
        mine = cell.law.arm(rng, units, rate * (1 + cell.lift))
        group = BatchGroup(self.share, cell.law.arm(rng, LOOK - units, rate), mine)
        if cell.thompson:
            self._allocate(group)
        return group

    def _allocate(self, group: BatchGroup) -> None:
        """The chance that the candidate is better, by a normal law, between a fifth of both sides' shares."""
        arms = (group.candidate, group.stable)
        self._sums += np.array([[arm.units, arm.total, arm.squares] for arm in arms])
        n = self._sums[:, 0] + 1
        mean = self._sums[:, 1] / n
        deviation = np.sqrt((np.maximum(self._sums[:, 2] / n - mean**2, 0) / n).sum(axis=0) + 1e-12)
        draws = self._rng.standard_normal((100, len(deviation))) * deviation
        chance = ((mean[0] - mean[1]) + draws > 0).mean(axis=0)
        weight = self._cell.weight
        self.share = np.clip(chance, weight / 5, 1 - (1 - weight) / 5).round(2)

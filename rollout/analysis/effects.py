"""The effect of a candidate on a business metric: its mean over stable's, less 1, with an interval at any moment.

Two estimators: `effects_binary` for what happens or does not, `effects_continuous` for how much. Both take users in
groups, each with the chance with which its users fell to the candidate, so that the chance may change while the test
runs. An effect is relative to the size of stable's mean: +10 % is up, whatever the sign of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.seen import BatchGroup
from lockgate.rollout.metrics import Metric

CANDIDATE, STABLE = 0, 1
"""Columns of whatever is (R, 2)."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Each (R, 2): of the candidate's users, and of stable's."""

    units: Array
    weight: Array
    """Each user counts one over the chance of the side it fell to: so groups of all chances can be added."""
    total: Array
    """Of the values, weighted so."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Each (R,). An end is infinite where nothing bounds it."""

    estimate: Array
    low: Array
    high: Array


S = TypeVar("S")


class Estimator(Protocol[S]):
    """Of the effect on one metric. A state `S` is a dataclass of arrays whose first axis is the rollout."""

    @property
    def least(self) -> int:
        """Users of each side before which nothing is said."""

    def begin(self, rollouts: int) -> S:
        """Before the first user."""

    def look(self, state: S, groups: tuple[BatchGroup, ...]) -> S:
        """With the users whose windows closed since the look before."""

    def sums(self, state: S) -> Sums:
        """Of all users so far."""

    def interval(self, state: S, alpha: float) -> Interval:
        """It holds the effect at all looks together, but for a chance of `alpha`."""

    def evidence(self, state: S, effect: float) -> tuple[Array, Array]:
        """Logarithms, each (R,), of the e-values for an effect above `effect` and for one below.

        One over the alpha whose interval would just leave `effect` out on that side; 0 where it is inside.
        """

    def chance(self, state: S) -> Array:
        """(R,): how likely the effect is above 0, for whoever shares out users. No verdict is made of it."""


def estimator_of(metric: Metric) -> Estimator[Any]:
    from lockgate.rollout.analysis.effects_binary import BinaryEstimator
    from lockgate.rollout.analysis.effects_continuous import ContinuousEstimator

    return BinaryEstimator() if metric.kind == "binary" else ContinuousEstimator(answering=metric.take == "mean")


def no_sums(rollouts: int) -> Sums:
    zero = np.zeros((rollouts, 2))
    return Sums(zero, zero, zero)


def added(sums: Sums, units: Array, total: Array, share: Array) -> Sums:
    """With a group's `units` and `total`, each (R, 2), who fell to the candidate with the chance `share` (R,)."""
    chance = np.stack([share, 1 - share], axis=1)
    return Sums(sums.units + units, sums.weight + units / chance, sums.total + total / chance)


def means(sums: Sums) -> Array:
    """(R, 2): what a user does on each side, as if all users had been split by one chance; 0 without any."""
    return np.asarray(sums.total / np.where(sums.weight > 0, sums.weight, 1.0))


def ratio_of(sums: Sums) -> Array:
    """(R,): the candidate's mean over stable's less 1, relative to the size of stable's; 0 where there is none."""
    mine, theirs = means(sums).T
    size = np.abs(theirs)
    return np.asarray(np.where(size > 0, (mine - theirs) / np.where(size > 0, size, 1.0), 0.0))


def shares_of(group: BatchGroup) -> tuple[Array, Array]:
    """The group's share (R,), and 1 where its users count: the share is a chance, and every number is one.

    With a share of 0 or 1 there is nobody to compare with.
    """
    share = np.broadcast_to(np.asarray(group.share, dtype=np.float64), group.stable.units.shape)
    numbers = [each for arm in (group.candidate, group.stable) for each in (arm.units, arm.total, arm.squares)]
    counts = (share > 0) & (share < 1) & np.isfinite(numbers).all(axis=0)
    return np.where(counts, share, 0.5), np.asarray(counts, dtype=np.float64)


def both(candidate: Array, stable: Array, counts: Array) -> Array:
    """(R, 2) of both sides' numbers, 0 where the group's users do not count."""
    return np.where(counts[:, None] > 0, np.stack([candidate, stable], axis=1), 0.0)


def anywhere(interval: Interval, known: Array) -> Interval:
    """Where not `known` (R,), the effect may be anything."""
    low, high = np.where(known, interval.low, -np.inf), np.where(known, interval.high, np.inf)
    return Interval(np.clip(interval.estimate, low, high), low, high)

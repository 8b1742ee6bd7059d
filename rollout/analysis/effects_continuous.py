"""The effect on how much, like revenue: an asymptotic confidence sequence of both means, by users' known chances.

Each user i, who fell to the candidate with the chance w, gives two numbers that are on average what anybody does on the
candidate's side and on stable's, whatever w was and however it was chosen from what was seen before (augmented inverse
propensity weighting; m: each side's mean in the looks before)

    U = m_c + [i is the candidate's] (Y - m_c) / w          V = m_s + [i is stable's] (Y - m_s) / (1 - w)

and U - (1 + e) V is 0 on average at the true effect e alone. Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024,
theorem 2.2): the average of t such numbers with the deviation s leaves the following around 0 at any t with a chance of
alpha, in the limit of late first looks

    s sqrt(2 (t r^2 + 1) / (t r)^2 log(sqrt(t r^2 + 1) / alpha))

so an effect is out where it does (Fieller's interval, at any moment), and everything is possible where stable's mean is
not clearly away from 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from statistics import NormalDist

import numpy as np

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.effects import (
    CANDIDATE,
    STABLE,
    Interval,
    Sums,
    added,
    anywhere,
    both,
    no_sums,
    ratio_of,
    shares_of,
)
from lockgate.rollout.analysis.seen import BatchGroup

LEAST_UNITS = 1000
"""Users of each side: the theorem is about late first looks."""
LEAST_WEIGHTY = 100
"""Users of each side whose values make up the sum: (sum of values)^2 / sum of squares; for 0 and 1, the ones."""
EXPECTED = 20_000
"""Users of both sides at which the interval is the narrowest that it can be."""
_SOME = 100
"""Users of each side from which on a chance is told."""
_R2 = (2 * log(20) + log(2 * log(20) + 1)) / EXPECTED
_MOST = 700.0
"""Of a logarithm that is shown."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Sums over all users, each (R,) but for the first three."""

    sums: Sums
    total: Array
    """(R, 2), as they are."""
    squares: Array
    """(R, 2)"""
    count: Array
    u: Array
    v: Array
    uu: Array
    vv: Array
    uv: Array


class ContinuousEstimator:
    """`answering`: only users with a value are counted, and on one side more of them may have one.

    Whoever is counted then fell to the candidate with another chance than the users who came: with the share of the
    users who were counted in the looks before.
    """

    least = LEAST_UNITS

    def __init__(self, *, answering: bool = False) -> None:
        self._answering = answering

    def begin(self, rollouts: int) -> Scores:
        zero, two = np.zeros(rollouts), np.zeros((rollouts, 2))
        return Scores(no_sums(rollouts), two, two, zero, zero, zero, zero, zero, zero)

    def look(self, state: Scores, groups: tuple[BatchGroup, ...]) -> Scores:
        """Every group is scored by the means of the looks before, not by those of the other groups."""
        came = [_tables(group) for group in groups]
        if not came:
            return state
        units, total = (np.sum([getattr(each, name) for each in came], axis=0) for name in ("units", "total"))
        expected = _expected(state, units, total)
        counted = state.sums.units
        for each in came:
            state = _scored(state, _answered(each, counted) if self._answering else each, expected)
        return state

    def sums(self, state: Scores) -> Sums:
        return state.sums

    def interval(self, state: Scores, alpha: float) -> Interval:
        u, v, uu, vv, uv = _moments(state)
        t = np.maximum(state.count, 1.0)
        reach2 = 2 * (t * _R2 + 1) / (t * t * _R2) * (0.5 * np.log(t * _R2 + 1) - log(alpha))
        a, b, c = v * v - reach2 * vv, u * v - reach2 * uv, u * u - reach2 * uu
        bounded = a > 0
        safe = np.where(bounded, a, 1.0)
        root = np.sqrt(np.maximum(b * b - a * c, 0.0))
        ends = np.sort(np.sign(v) * np.stack([(b - root) / safe - 1, (b + root) / safe - 1]), axis=0)
        return anywhere(Interval(ratio_of(state.sums), ends[0], ends[1]), np.asarray(_known(state) * bounded > 0))

    def evidence(self, state: Scores, effect: float) -> tuple[Array, Array]:
        u, v, uu, vv, uv = _moments(state)
        times = 1 + np.sign(v) * effect
        apart = u - times * v
        log_e = _log_e(apart, uu - 2 * times * uv + times * times * vv, state.count)
        if effect:  # without one the difference says it all, whatever stable's mean is
            log_e = np.minimum(log_e, _log_e(v, vv, state.count))
        log_e = np.where(_known(state), log_e, 0.0)
        return np.where(apart > 0, log_e, 0.0), np.where(apart < 0, log_e, 0.0)

    def chance(self, state: Scores) -> Array:
        """By the central limit theorem; a half before it says anything."""
        u, v, uu, vv, uv = _moments(state)
        deviation = np.sqrt(np.maximum(uu + vv - 2 * uv, 0.0) / np.maximum(state.count, 1.0))
        z = (u - v) / np.where(deviation > 0, deviation, 1.0)
        above = np.array([NormalDist().cdf(each) for each in z])
        return np.where((deviation > 0) & (state.sums.units.min(axis=1) >= _SOME), above, 0.5)


@dataclass(frozen=True, slots=True)
class _Group:
    """Each (R, 2), the share (R,)."""

    share: Array
    units: Array
    total: Array
    squares: Array


def _tables(group: BatchGroup) -> _Group:
    share, counts = shares_of(group)
    mine, theirs = group.candidate, group.stable
    units, total = both(mine.units, theirs.units, counts), both(mine.total, theirs.total, counts)
    # Squares are at least what the sum makes necessary: numbers that went through JSON may be short of it.
    squares = np.maximum(both(mine.squares, theirs.squares, counts), total**2 / np.maximum(units, 1.0))
    return _Group(share, units, total, squares)


def _answered(group: _Group, counted: Array) -> _Group:
    """With the share of those who were `counted` (R, 2) before, from when there are some of each side."""
    share = counted[:, CANDIDATE] / np.maximum(counted.sum(axis=1), 1.0)
    return replace(group, share=np.where(counted.min(axis=1) >= _OWN, share, group.share))


def _expected(state: Scores, units: Array, total: Array) -> Array:
    """(R, 2): each side's mean in the looks before; before there is one, that of everybody, at first in this look."""
    before = state.sums.units.sum(axis=1, keepdims=True) > 0
    n, sum_ = np.where(before, state.sums.units, units), np.where(before, state.total, total)
    all_n = n.sum(axis=1, keepdims=True)
    everybody = sum_.sum(axis=1, keepdims=True) / np.maximum(all_n, 1.0)
    own = before & (state.sums.units >= _OWN)
    return np.asarray(np.where(own, _means_of(state.total, state.sums.units), everybody))


_OWN = 20
"""Users of a side from which on it has a mean of its own."""


def _means_of(total: Array, units: Array) -> Array:
    return np.asarray(total / np.maximum(units, 1.0))


def _scored(state: Scores, group: _Group, expected: Array) -> Scores:
    n, w, m = group.units, np.stack([group.share, 1 - group.share], axis=1), expected
    off = (group.total - n * m) / w
    off2 = np.maximum(group.squares - 2 * m * group.total + n * m * m, 0.0) / (w * w)
    every = n.sum(axis=1)
    first, second = every[:, None] * m + off, every[:, None] * m * m + 2 * m * off + off2
    (mine, theirs), (mine2, theirs2) = first.T, second.T
    m_c, m_s = m.T
    return Scores(
        sums=added(state.sums, n, group.total, group.share),
        total=state.total + group.total,
        squares=state.squares + group.squares,
        count=state.count + every,
        u=state.u + mine,
        v=state.v + theirs,
        uu=state.uu + mine2,
        vv=state.vv + theirs2,
        uv=state.uv + every * m_c * m_s + m_s * off[:, CANDIDATE] + m_c * off[:, STABLE],
    )


def _moments(state: Scores) -> tuple[Array, Array, Array, Array, Array]:
    """Averages of U and V, their variances, and their covariance."""
    t = np.maximum(state.count, 1.0)
    u, v = state.u / t, state.v / t
    uu, vv = np.maximum(state.uu / t - u * u, 0.0), np.maximum(state.vv / t - v * v, 0.0)
    return u, v, uu, vv, state.uv / t - u * v


def _log_e(average: Array, variance: Array, t: Array) -> Array:
    """Of the normal mixture against an average of 0; 0 where there is no variance to judge by."""
    z2 = average**2 / np.where(variance > 0, variance, 1.0)
    logs = z2 * t * t * _R2 / (2 * (t * _R2 + 1)) - 0.5 * np.log(t * _R2 + 1)
    return np.where(variance > 0, np.clip(logs, 0.0, _MOST), 0.0)


def _known(state: Scores) -> Array:
    """Enough users, enough of them weighty, and not all the same: else the limit theorem says nothing yet."""
    units, every = state.sums.units, state.sums.units.sum(axis=1)
    total, squares = state.total.sum(axis=1), state.squares.sum(axis=1)
    part = total**2 / np.where(squares > 0, squares, 1.0) / np.maximum(every, 1.0)
    weighty = part * units.min(axis=1) >= LEAST_WEIGHTY
    differ = (state.squares - state.total**2 / np.maximum(units, 1.0)).sum(axis=1) > _SAME * squares
    return np.asarray((units.min(axis=1) >= LEAST_UNITS) & weighty & differ)


_SAME = 1e-12

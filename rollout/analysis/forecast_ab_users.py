"""Users of a simulated step, and what the judge's own estimators know of them at each look.

Users come at a constant rate and are split just as the weight says. What they do is drawn: binomials for what happens
or does not; sums of amounts are drawn as normal with matching moments, and their squares as those of normal values. So
the tail of one user's amount is not there: where it is heavy, a test of the same deviation takes longer than said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.effects import CANDIDATE, Sums, added, no_sums
from lockgate.rollout.analysis.effects_binary import GRID, Odds
from lockgate.rollout.analysis.effects_continuous import ContinuousEstimator, Scores
from lockgate.rollout.analysis.forecast_traffic import COARSE, Users, look_times
from lockgate.rollout.analysis.seen import BatchArm, BatchGroup
from lockgate.rollout.metrics import Metric
from lockgate.rollout.spec import RolloutSpec, challengers, weight_of

DAY = 86_400.0
_FIRST = 12.5
"""Looks are this many times as far apart as those that count requests: nothing is said of a few users."""
_LARGEST = 10.0
"""Of an effect that is looked for."""


@dataclass(frozen=True, slots=True)
class Coming:
    """Users who come into a step, and what they do with stable."""

    metric: Metric
    rate: float
    """A second, of both sides."""
    share: float
    """The candidate's."""
    lag: float
    """Seconds until a user counts: the metric's window, and what its source takes to tell."""
    typical: float
    """The share of stable's users who do it; of a continuous metric, the deviation of a user's value over the mean."""

    def most(self, sign: float) -> float:
        """The largest effect that there can be, up (`sign` 1) or down (-1), as a number above 0."""
        if sign < 0:
            return 1.0
        return min(1 / self.typical - 1, _LARGEST) if self.metric.kind == "binary" else _LARGEST

    def counted(self, seconds: Array) -> Array:
        """Users of both sides who count so long after the step began; infinity stays it."""
        return np.maximum(seconds - self.lag, 0.0) * self.rate


def coming(spec: RolloutSpec, index: int, name: str, users: Users | None) -> Coming | None:
    """Into a step whose candidate answers somebody; None where nobody said what users do."""
    typical = users.typical.get(name) if users else None
    if users is None or typical is None:
        return None
    metric = spec.metric(name)
    lag = metric.window + (metric.promql.every if metric.promql else metric.delay)
    step = spec.steps[index]
    arms = len(challengers(step))
    mine, theirs = weight_of(step) / 100 / arms, 1 - weight_of(step) / 100
    # Each challenger is compared with stable: of the users of both, whose chance is that of the pair.
    return Coming(metric, users.per_day / DAY * (mine + theirs), mine / (mine + theirs), lag, typical)


def looks(came: Coming, timeout: float, until: float, coarse: float = COARSE) -> Iterator[float]:
    """Seconds of the step at which it is looked at: up to the timeout closely, from there to `until` half as often."""
    rate, begun = came.rate * came.share / _FIRST, timeout - came.lag
    if begun > 0:
        for _, ended in look_times(rate, begun, coarse):
            yield came.lag + ended
        while came.lag + begun < until:
            begun = min(begun * (1 + 2 * coarse), until - came.lag)
            yield came.lag + begun
    elif until > came.lag:
        for _, ended in look_times(rate, until - came.lag, 2 * coarse):
            yield came.lag + ended


class Drawn(Protocol):
    """What the users of R tests did, by and by."""

    def come(self, users: float) -> None:
        """So many of both sides count now."""

    def state(self, rows: NDArray[np.intp]) -> Any:
        """What the metric's estimator knows of these tests."""


def drawn(came: Coming, effects: Array, rng: np.random.Generator) -> Drawn:
    """`effects` (R,): the candidate's, relative to stable."""
    return (_Did if came.metric.kind == "binary" else _Spent)(came, effects, rng)


class _Split:
    """Users of both sides so far: whole numbers, the same in all tests."""

    def __init__(self, share: float) -> None:
        self._shares, self.units = np.array([share, 1 - share]), np.zeros(2)

    def come(self, users: float) -> Array:
        """(2,): how many are new."""
        before, self.units = self.units, np.round(users * self._shares)
        return np.asarray(self.units - before)


class _Did:
    def __init__(self, came: Coming, effects: Array, rng: np.random.Generator) -> None:
        both = np.stack([came.typical * (1 + effects), np.full(len(effects), came.typical)], axis=1)
        self._rates, self._share, self._rng = np.clip(both, 0.0, 1.0), came.share, rng
        self._split, self._did = _Split(came.share), np.zeros(both.shape)

    def come(self, users: float) -> None:
        self._did += self._rng.binomial(self._split.come(users).astype(np.int64), self._rates)

    def state(self, rows: NDArray[np.intp]) -> Odds:
        did, units = self._did[rows], np.tile(self._split.units, (len(rows), 1))
        sums = added(no_sums(len(rows)), units, did, np.full(len(rows), self._share))
        return Odds(sums, likelihood(self._split.units, did), np.zeros((len(rows), 4, 5)))


def likelihood(units: Array, did: Array) -> Array:
    """(R, G): the log likelihood of every odds ratio of `GRID`, of `units` (2,) of whom `did` (R, 2), as one block.

    The estimator's own sum over tables is exact, and takes a thousand times as long for large counts. The slope of its
    logarithm is the mean of the candidate's k; the largest term is where k (N - m + k) = t (n - k) (m - k), which is
    the mean at t = 1 exactly and near it elsewhere (Cornfield 1956).
    """
    (n, others), every, t = units, did.sum(axis=1)[:, None], np.exp(GRID)
    b = others - every + t * (n + every)
    root = np.sqrt(np.maximum(b * b + 4 * (1 - t) * t * n * every, 0.0))
    mean = 2 * t * n * every / np.maximum(b + root, 1e-300)
    area = np.zeros_like(mean)
    np.cumsum((mean[:, 1:] + mean[:, :-1]) / 2 * np.diff(GRID), axis=1, out=area[:, 1:])
    return np.asarray(did[:, :1] * GRID - (area - area[:, [len(GRID) // 2]]))


class _Spent:
    def __init__(self, came: Coming, effects: Array, rng: np.random.Generator) -> None:
        self._mean = np.stack([1 + effects, np.ones(len(effects))], axis=1)
        self._deviation, self._rng, self._share = came.typical * np.abs(self._mean), rng, came.share
        self._split, self._estimator = _Split(came.share), ContinuousEstimator()
        self._scores = self._estimator.begin(len(effects))

    def come(self, users: float) -> None:
        new = self._split.come(users)
        if not new.any():
            return
        size = self._mean.shape
        total = new * self._mean + np.sqrt(new) * self._deviation * self._rng.standard_normal(size)
        within = np.where(new > 1, self._rng.chisquare(np.maximum(new - 1, 1.0), size), 0.0) * self._deviation**2
        squares = total**2 / np.maximum(new, 1.0) + within
        arms = [BatchArm(np.full(size[0], new[side]), total[:, side], squares[:, side]) for side in (0, 1)]
        group = BatchGroup(self._share, stable=arms[1 - CANDIDATE], candidate=arms[CANDIDATE])
        self._scores = self._estimator.look(self._scores, (group,))

    def state(self, rows: NDArray[np.intp]) -> Scores:
        return _of(self._scores, rows)  # type: ignore[no-any-return]


def _of(state: Scores | Sums | Array, rows: NDArray[np.intp]) -> Any:
    if is_dataclass(state):
        return type(state)(*(_of(getattr(state, each.name), rows) for each in fields(state)))
    return state[rows]

"""The field's rules, as their documents and sources state them, on series with one point a minute.

Each says at the end of which minute (counted from 1) it rolls back, (rollouts,); 0 is never.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from benchmarks.detection.traffic import EDGES, Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Flagger:
    """Every `interval` each metric is queried once; a value outside its range is a failed check, and so is no value.

    Failed checks add up and are never taken back; the canary is rolled back when there are `threshold` of them (an
    interval later, in truth). Stable is not looked at. Source: docs.flagger.app/usage/metrics (interval 1m,
    request-success-rate min 99, request-duration max 500); the examples' threshold is 5 (without one it is 1);
    pkg/controller/scheduler.go.
    """

    threshold: int = 5

    def minutes(self, bad: Bools) -> Ints:
        """`bad` (rollouts, minutes): whether the check at the end of that minute fails."""
        return _first(np.cumsum(bad, axis=1) >= self.threshold)


@dataclass(frozen=True, slots=True)
class Argo:
    """Every `interval` minutes a query over that window is measured; one that misses successCondition has failed.

    The analysis fails, and the rollout is aborted, with more than `failure_limit` failed measurements in all; NaN
    misses the condition. Stable is not looked at. Source: argo-rollouts docs/features/analysis.md, whose example has
    interval 5m, a window of 5m and failureLimit 3 (without one it is 0). The first measurement waits for its window.
    """

    interval: int = 5
    failure_limit: int = 3

    def minutes(self, bad: Bools) -> Ints:
        """`bad` (rollouts, windows): whether the measurement at the end of that window fails."""
        return _first(np.cumsum(bad, axis=1) > self.failure_limit) * self.interval


@dataclass(frozen=True, slots=True)
class Kayenta:
    """Two series with one point a minute are compared: the Mann-Whitney location interval of canary minus baseline.

    A metric is High when the lower end of the `confidence` interval exceeds `tolerance` times the absolute
    Hodges-Lehmann estimate. The score is the share of metrics that are not High; a score below `marginal` ends the
    canary. Points without data are left out. It judges all minutes so far every `every` minutes. Source:
    NetflixACAJudge.scala (tolerance 0.25, confidence 0.98), MannWhitney.scala (R's asymptotic interval, with its
    correction for continuity), spinnaker.io/docs/guides/user/canary/judge. `every` and `marginal` are the user's.
    """

    every: int = 5
    tolerance: float = 0.25
    confidence: float = 0.98
    marginal: float = 75.0

    def minutes(self, *metrics: tuple[Floats, Floats]) -> Ints:
        """`metrics`: of each the canary's and the baseline's series, (rollouts, minutes) with NaN for no data."""
        rollouts, minutes = metrics[0][0].shape
        looks = range(self.every, minutes + 1, self.every)
        bad = np.zeros((rollouts, len(looks)), bool)
        for index, last in enumerate(looks):
            high = [self.high(canary[:, :last], baseline[:, :last]) for canary, baseline in metrics]
            bad[:, index] = 100 * (1 - np.mean(high, axis=0)) < self.marginal
        return _first(bad) * self.every

    def high(self, canary: Floats, baseline: Floats) -> Bools:
        """Whether each rollout's metric is High, (rollouts,). No data at all is not."""
        whole = ~(np.isnan(canary).any(1) | np.isnan(baseline).any(1))
        high = np.zeros(len(canary), bool)
        if whole.any():
            high[whole] = self._high(canary[whole], baseline[whole])
        for row in np.flatnonzero(~whole):
            one, other = canary[row], baseline[row]
            one, other = one[~np.isnan(one)], other[~np.isnan(other)]
            high[row] = len(one) > 0 and len(other) > 0 and bool(self._high(one[None], other[None])[0])
        return high

    def _high(self, canary: Floats, baseline: Floats) -> Bools:
        apart = (canary[:, :, None] - baseline[:, None, :]).reshape(len(canary), -1)
        apart.sort(axis=1)
        mine, theirs = canary.shape[1], baseline.shape[1]
        sigma = math.sqrt(mine * theirs * (mine + theirs + 1) / 12)
        above = mine * theirs / 2 + 0.5 + NormalDist().inv_cdf((1 + self.confidence) / 2) * sigma
        lower = apart[:, max(0, mine * theirs - math.ceil(above))]
        return np.asarray(lower > self.tolerance * np.abs(np.median(apart, axis=1)))


def error_rates(requests: Ints, errors: Ints) -> Floats:
    """NaN where nothing was asked."""
    return np.where(requests > 0, errors / np.maximum(requests, 1), np.nan)


def quantiles(counts: Ints, q: float) -> Floats:
    """Prometheus' histogram_quantile of cumulative `counts` (..., edges): linear inside a bucket; NaN without data."""
    total = counts[..., -1]
    rank = q * total
    index = np.argmax(counts >= rank[..., None], axis=-1)
    taken = np.take_along_axis(counts, index[..., None], -1)[..., 0]
    before = np.take_along_axis(counts, np.maximum(index - 1, 0)[..., None], -1)[..., 0] * (index > 0)
    low = np.where(index > 0, EDGES[np.maximum(index - 1, 0)], 0.0)
    high = np.where(np.isinf(EDGES[index]), low, EDGES[index])
    inside = (rank - before) / np.maximum(taken - before, 1)
    return np.where(total > 0, low + (high - low) * inside, np.nan)


def _first(hit: Bools) -> Ints:
    """Index from 1 of the first True along the last axis, 0 where there is none."""
    never = np.zeros((len(hit), 1), bool)
    return np.where(hit.any(axis=1), np.hstack([hit, never]).argmax(axis=1) + 1, 0)

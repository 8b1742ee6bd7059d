"""How much larger the mean of losses may be than that of a sample of them: the baseline's own error of estimation."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from lockgate.monitoring.performance.losses import Floats, counts_whole
from lockgate.monitoring.performance.words import Measure

MISSED = 0.005
"""Of the references, so many at most have rows that are so good by chance that the bound is too low."""
_HALVINGS = 60


def upper_bound(measure: Measure, losses: Floats) -> float:
    """Of the mean of the losses. Exact where they are 0 or 1; of others approximate.

    A sample without a single surprise says nothing of how large one is: for as many as it may have missed, each of
    them counts for as much as `evidence` lets it count at least. Errors of numbers have no such size.
    """
    if measure == "accuracy":
        return of_share(int(losses.sum()), len(losses))
    missed = counts_whole(measure) * of_share(0, len(losses))
    return max(of_mean(losses), float(losses.mean()) + missed)


def of_share(wrong: int, n: int) -> float:
    """Clopper and Pearson, "The use of confidence or fiducial limits" (Biometrika 1934)."""
    if wrong >= n:
        return 1.0
    i = np.arange(1, wrong + 1)
    ways = np.concatenate(
        [[0.0], np.cumsum(np.log((n - i + 1) / i))]
    )  # of choosing 0, 1, ... wrong ones, as logarithms
    wrongs = np.arange(wrong + 1)
    low, high = wrong / n, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        as_few = np.exp(ways + wrongs * np.log(share) + (n - wrongs) * np.log1p(-share)).sum() if share < 1 else 0.0
        low, high = (share, high) if as_few > MISSED else (low, share)
    return high


def of_mean(losses: Floats) -> float:
    """By the normal distribution, corrected for skewness: where few losses are large, most samples' means are too low.

    Hall, "On the removal of skewness by transformation", JRSS B 1992; the first term.
    """
    n, mean, spread = len(losses), float(losses.mean()), float(losses.std(ddof=1))
    if not spread > 0:
        return mean
    z = NormalDist().inv_cdf(1 - MISSED)
    skewness = max(0.0, float((((losses - mean) / spread) ** 3).mean()))
    return mean + spread / float(n**0.5) * (z + skewness * (2 * z * z + 1) / (6 * float(n**0.5)))

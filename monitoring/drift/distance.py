"""How far two samples' counts in the same bins are apart, and how likely chance makes them so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.drift.chance import chi_square, two_shares
from lockgate.monitoring.drift.columns import Array

_LEAST = 5.0
"""Rows that the smaller sample must be expected to have in a bin; bins with fewer are taken together."""
_TABLE = 2**24
"""Cells of a table that is counted at once."""


@dataclass(frozen=True, slots=True)
class Apart:
    """`psi`: less its mean where nothing differs. `bins`: as many as were compared."""

    psi: float
    raw: float
    chance: float
    bins: int


def apart(live: Array, reference: Array, design_effect: float = 1.0) -> Apart:
    """Of counts of the same bins, both with at least one row. `design_effect`: of the live rows."""
    x, y = live / design_effect, np.asarray(reference, np.float64)
    x, y, rare = _pooled(x, y)
    n, m = x.sum(), y.sum()
    both = (x + y) / (n + m)
    # One row more in each sample, spread as all rows are: an empty bin is no infinite distance.
    p, q = (x + both) / (n + 1), (y + both) / (m + 1)
    raw = float(((p - q) * np.log(p / q)).sum())
    chance_adds = float((len(x) - 1) * (1 / n + 1 / m))
    return Apart(max(0.0, raw - chance_adds), raw, _chance(x, y, rare=rare), len(x))


def _pooled(x: Array, y: Array) -> tuple[Array, Array, bool]:
    """Small bins as one, the last; and whether that is too small for chi-square even so."""
    there = (x + y) > 0
    x, y = x[there], y[there]
    expected = (x + y) / (x.sum() + y.sum()) * min(x.sum(), y.sum())
    small = expected < _LEAST
    if not small.any():
        return x, y, False
    pooled = [np.append(of[~small], of[small].sum()) for of in (x, y)]
    return pooled[0], pooled[1], bool(expected[small].sum() < _LEAST)


def _chance(x: Array, y: Array, *, rare: bool) -> float:
    """Pearson's chi-square of two samples; a last bin that is too small for it is tested exactly, by itself."""
    if not rare:
        return _pearson(x, y)
    exact = two_shares(int(x[-1]), round(x.sum()), round(y[-1]), round(y.sum()))
    return min(1.0, 2 * min(_pearson(x[:-1], y[:-1]), exact))


def _pearson(x: Array, y: Array) -> float:
    n, m = x.sum(), y.sum()
    if len(x) < 2 or not n or not m:
        return 1.0
    statistic = float(((np.sqrt(m / n) * x - np.sqrt(n / m) * y) ** 2 / (x + y)).sum())
    return chi_square(statistic, len(x) - 1)


def design_effect(bins: Array, groups: Array | None) -> float:
    """How many of these rows say as much as one independent row: Rao and Scott's mean over the bins, at least 1.

    `bins`, `groups`: (rows,) the bin of each row, and the number of the group that it belongs to, from 0 on.
    """
    if groups is None or len(bins) < 2:
        return 1.0
    sizes = np.bincount(groups).astype(np.float64)
    many = int((sizes > 0).sum())
    if many in (1, len(bins)):
        return float(len(bins)) if many == 1 else 1.0
    share = np.bincount(bins) / len(bins)
    freedom = int((share > 0).sum()) - 1
    if not freedom:
        return float((sizes**2).sum() / len(bins))
    counts, of, at = _cells(bins, groups, len(share))
    squares = np.bincount(of, counts**2, len(share))
    products = np.bincount(of, counts * sizes[at], len(share))
    between = squares - 2 * share * products + share**2 * (sizes**2).sum()
    # Mean of each bin's variance over its variance were all rows independent, weighed by 1 - share.
    mean = float((between[share > 0] / (len(bins) * share[share > 0])).sum()) / freedom
    return max(1.0, mean * many / (many - 1))


def _cells(bins: Array, groups: Array, width: int) -> tuple[Array, Array, Array]:
    """How many rows each group has in each bin where it has some; the bins, and the groups."""
    keys = groups * width + bins
    if int(groups.max()) * width < _TABLE:
        whole = np.bincount(keys)
        cells = np.flatnonzero(whole)
        return whole[cells].astype(np.float64), cells % width, cells // width
    cells, counts = np.unique(keys, return_counts=True)
    return counts.astype(np.float64), cells % width, cells // width

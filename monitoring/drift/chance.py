"""How likely chance alone makes two samples differ as much: chi-square, Fisher's exact test, Benjamini-Hochberg.

scipy has these; it takes longer to import than a comparison takes, and is nobody's dependency of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, exp, lgamma, log, sqrt

import numpy as np

_TERMS = 10_000
_TINY = 1e-300
_MANY = 1000.0
"""Expected in each cell of a table of four: from there on chi-square is exact enough far out in its tail."""


def chi_square(statistic: float, freedom: int) -> float:
    """The chance of at least `statistic` under chi-square with `freedom` degrees of freedom."""
    if freedom < 1 or statistic <= 0:
        return 1.0
    a, x = freedom / 2, statistic / 2
    scale = exp(a * log(x) - x - lgamma(a)) if a * log(x) - x - lgamma(a) > log(_TINY) else 0.0
    if x < a + 1:
        return max(0.0, 1 - scale * _series(a, x))
    return min(1.0, scale * _fraction(a, x))


def _series(a: float, x: float) -> float:
    """Of the lower incomplete gamma function, divided by x^a exp(-x): Abramowitz and Stegun 6.5.29."""
    term = total = 1 / a
    for n in range(1, _TERMS):
        term *= x / (a + n)
        total += term
        if term < total * 1e-16:
            break
    return total


def _fraction(a: float, x: float) -> float:
    """Of the upper one, likewise: 6.5.31, evaluated by Lentz's method."""
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    total = d
    for n in range(1, _TERMS):
        factor = -n * (n - a)
        b += 2
        d = 1 / _nonzero(factor * d + b)
        c = _nonzero(b + factor / c)
        total *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return total


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def two_shares(some: int, of: int, others: int, of_others: int) -> float:
    """Fisher's exact test, twice its smaller tail: `some` of `of` rows against `others` of `of_others`."""
    every, whole = some + others, of + of_others
    if not of or not of_others or every in (0, whole):
        return 1.0
    if min(of, of_others) * min(every, whole - every) > _MANY * whole:
        return _by_chi_square(some, of, others, of_others)
    least, most = max(0, every - of_others), min(every, of)
    at = np.arange(least, most, dtype=np.float64)
    steps = np.log(every - at) + np.log(of - at) - np.log(at + 1) - np.log(of_others - every + at + 1)
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    chances = np.exp(logs - logs.max())
    tail = min(chances[: some - least + 1].sum(), chances[some - least :].sum())
    return min(1.0, float(2 * tail / chances.sum()))


def _by_chi_square(some: int, of: int, others: int, of_others: int) -> float:
    every, whole = some + others, of + of_others
    difference = some / of - others / of_others
    variance = (every / whole) * (1 - every / whole) * (1 / of + 1 / of_others)
    return erfc(abs(difference) / sqrt(2 * variance))


def proven(chances: Sequence[float], level: float) -> list[bool]:
    """Benjamini and Hochberg's choice among tests: of what it calls proven, a share of `level` is chance on average."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    passing = [rank for rank, i in enumerate(order, 1) if chances[i] <= level * rank / len(chances)]
    accepted = set(order[: max(passing, default=0)])
    return [i in accepted for i in range(len(chances))]

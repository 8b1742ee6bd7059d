"""How numbers were distributed: bins between quantiles of the reference, and a bin for each value that is frequent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import Literal

import numpy as np

from lockgate.monitoring.drift.columns import Array

BINS = 10
_FEW = 12
"""So few distinct values (months, say) have a bin each."""
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)
SEVERAL = 5
"""What so many have in common is no single person's."""
_DIGITS = 3
"""To which the least and the greatest are rounded: of itself, or of the span of all, whichever is finer."""
_ROUNDING = 2.0**-22
"""Relative; values that differ less may be one value in another precision."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """`counts[i]` rows were above `edges[i - 1]` and at most `edges[i]`; the outermost bins have no end.

    `least`, `most`: of the finite ones, rounded outward unless `SEVERAL` rows have it. `infinite`: how many rows were
    not. `quantiles`: those of `SHOWN`.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    least: float
    most: float
    infinite: int
    quantiles: tuple[float, ...]
    of: Literal["numbers"] = "numbers"

    def place(self, values: Array) -> Array:
        """(rows,) the bin of each number; there is no NaN among them."""
        return np.searchsorted(np.array(self.edges), values, side="left")

    def outside(self, values: Array) -> Array:
        """(rows,) whether the reference has nothing so small or so large."""
        least = np.float64(self.least - _margin(self.least, self._scale))  # plain floats would become 32-bit ones
        most = np.float64(self.most + _margin(self.most, self._scale))
        return np.asarray((values < least) | (values > most))

    @property
    def _scale(self) -> float:
        return max(abs(self.least), abs(self.most))


def numbers(values: Array) -> Numbers | None:
    """Of float32 values without NaN; None where none is finite."""
    finite = np.sort(values[np.isfinite(values)]).astype(np.float64)
    if not len(finite):
        return None
    edges = tuple(_edges(finite).tolist())
    quantiles = tuple(quantile(finite, q) for q in SHOWN)
    bare = Numbers(edges, (), *_ends(finite), len(values) - len(finite), quantiles)
    counts = np.bincount(bare.place(values), minlength=len(edges) + 1)
    return Numbers(edges, tuple(counts.tolist()), bare.least, bare.most, bare.infinite, quantiles)


def _ends(ascending: Array) -> tuple[float, float]:
    """The least and the greatest."""
    least, most = float(ascending[0]), float(ascending[-1])
    often = [np.count_nonzero(ascending == end) >= SEVERAL for end in (least, most)]
    span = most - least
    return least if often[0] else -_up(-least, span), most if often[1] else _up(most, span)


def _up(value: float, span: float) -> float:
    """Not below `value`, but for what rounding adds."""
    scale = min(abs(value), span) if span else abs(value)
    if not scale:
        return value
    step = 10.0 ** (floor(log10(scale)) - _DIGITS + 1)
    return float(f"{ceil(value / step) * step:.12g}")


def quantile(ascending: Array, q: float) -> float:
    """A value that was seen."""
    return float(ascending[min(len(ascending) - 1, int(q * len(ascending)))])


def _edges(ascending: Array) -> Array:
    distinct, counts = np.unique(ascending, return_counts=True)
    heavy = np.ones(len(distinct), bool) if len(distinct) <= _FEW else counts >= len(ascending) / BINS
    places = [*_around(heavy), *_between(counts, heavy, len(ascending) / BINS)]
    behind = np.unique(np.array(places, np.int64))  # in `distinct`
    inner = distinct[behind] / 2 + distinct[behind + 1] / 2
    scale = float(np.abs(distinct).max())
    least, most = _ends(ascending)  # what lies between these and the outermost value is no bin of its own
    below = [least - _margin(least, scale)] if heavy[0] else []
    above = [most + _margin(most, scale)] if heavy[-1] else []
    return np.array([*below, *inner, *above], np.float64)


def _margin(value: float, scale: float) -> float:
    """What rounding may add; of zero, by the largest value there is."""
    return _ROUNDING * (abs(float(value)) or scale or 1.0)


def _around(heavy: Array) -> list[int]:
    """A boundary before and behind each frequent value."""
    at = np.flatnonzero(heavy)
    return [int(i) for i in np.concatenate([at - 1, at]) if 0 <= i < len(heavy) - 1]


def _between(counts: Array, heavy: Array, target: float) -> list[int]:
    """Boundaries that cut each stretch between frequent values into parts of about `target` rows."""
    found: list[int] = []
    ends = [-1, *np.flatnonzero(heavy).tolist(), len(counts)]
    for start, end in pairwise(ends):
        passed = np.cumsum(counts[start + 1 : end])
        parts = round(passed[-1] / target) if len(passed) else 0
        wanted = np.arange(1, parts) * (passed[-1] / parts) if parts > 1 else []
        found += (start + 1 + np.searchsorted(passed, wanted)).tolist()
    return [i for i in found if i < len(counts) - 1]

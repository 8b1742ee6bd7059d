"""`Histogram`'s methods for many rollouts at once: `edges` (E,), the last one infinity; `counts` (R, E), cumulative."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockgate.rollout.analysis.bets import Array

SLOTS = 24
"""Edges at which the sides are compared, at most."""
_FACTOR = 1.25
"""From one of them to the next, at least."""


def quantile(edges: Array, counts: Array, q: Array | float) -> Array:
    """(R,): in milliseconds, linear inside a bucket; 0 where nothing was counted."""
    total = counts[:, -1]
    rank = np.asarray(q) * total
    i = np.minimum((counts < rank[:, None]).sum(axis=1), len(edges) - 1)
    low = np.where(i > 0, edges[i - 1], 0.0)
    before = np.where(i > 0, _at(counts, i - 1), 0.0)
    inside = _at(counts, i) - before
    part = np.where(inside > 0, (rank - before) / np.maximum(inside, 1.0), 1.0)
    last = np.isinf(edges[i])
    value = np.where(last, low, low + (np.where(last, low, edges[i]) - low) * part)
    return np.where(total > 0, value, 0.0)


def above(edges: Array, counts: Array, limit: Array) -> Array:
    """Requests slower than the first edge at or above `limit` (R,) or (R, K)."""
    i = np.minimum(np.searchsorted(edges, limit), len(edges) - 1)
    return _total(counts, i) - _at(counts, i)


def perhaps_above(edges: Array, counts: Array, limit: Array) -> Array:
    """Requests slower than the last edge at or below `limit`: all that can have been slower than `limit`."""
    i = np.searchsorted(edges, limit, side="right") - 1
    return _total(counts, i) - np.where(i >= 0, _at(counts, np.maximum(i, 0)), 0.0)


def chosen(edges: Array, counts: Array) -> Array:
    """(R, SLOTS): edges from a quarter of the median to eight times the p99; unused slots are 0.

    All of them where there are no more than slots, else evenly on a logarithmic scale.
    """
    finite = edges[:-1]
    if not finite.size:
        return np.zeros((len(counts), SLOTS))
    first = np.maximum(quantile(edges, counts, 0.5) / 4, finite[0])[:, None]
    last = np.maximum(quantile(edges, counts, 0.99)[:, None] * 8, first)
    between = (finite >= first) & (finite <= last)
    few = between.sum(axis=1, keepdims=True) <= SLOTS
    return np.where(few, _all_of(finite, between), _evenly(finite, first, last))


def _all_of(finite: Array, between: NDArray[np.bool_]) -> Array:
    found = np.sort(np.where(between, finite, np.inf), axis=1)[:, :SLOTS]
    found = np.pad(found, ((0, 0), (0, SLOTS - found.shape[1])), constant_values=np.inf)
    return np.where(np.isinf(found), 0.0, found)


def _evenly(finite: Array, first: Array, last: Array) -> Array:
    factor = np.maximum((last / first) ** (1 / (SLOTS - 1)), _FACTOR)
    wanted = np.minimum(first * factor ** np.arange(SLOTS), last)
    found = finite[np.minimum(np.searchsorted(finite, wanted), len(finite) - 1)]
    again = np.zeros(found.shape, dtype=bool)
    again[:, 1:] = found[:, 1:] == found[:, :-1]
    return np.where(again, 0.0, found)


def _at(counts: Array, i: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Array:
    if i.ndim == 1:
        return np.take_along_axis(counts, i[:, None], axis=1)[:, 0]
    return np.take_along_axis(counts, i, axis=1)


def _total(counts: Array, i: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Array:
    return counts[:, -1] if i.ndim == 1 else counts[:, -1:]

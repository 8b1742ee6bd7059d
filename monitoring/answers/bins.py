"""Bins of predictions, fixed once from the first ones of stable.

Numbers: 20 quantiles, and one edge below and above all that was seen. Edges lie in the middle between two values that
were seen and differ by more than rounding does: a model that answers few distinct scores (trees do) would otherwise
have its mass on an edge, where rounding pushes it over.
Labels (text, truth values, whole numbers of which few are seen): each one that was seen, and "other".
Vectors that sum to 1: the position of the largest element. Other vectors: as a number, how far they reach in the mean
direction of the first ones (their length would say nothing about embeddings, which are often scaled to 1; a candidate
whose embeddings turn or collapse moves here). Vectors of varying length: their Euclidean length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lockgate.monitoring.answers.columns import Array, Column
from lockgate.monitoring.answers.compare import distributions
from lockgate.monitoring.answers.errors import Incomparable

QUANTILES = 20
_FEW = 20
"""Whole numbers with more distinct values are numbers, not labels."""
_MOST_LABELS = 50
_LONG = 80
_OTHER = "other"
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """`reduce` makes one number or label of each answer, `place` finds the bin of each of those."""

    names: tuple[str, ...]
    like: Column
    reduce: Callable[[Column], Array]
    place: Callable[[Array], Array]

    def count(self, answers: Column) -> tuple[int, ...]:
        """Raises `Incomparable` for answers of another kind than those that the bins were made of."""
        if not len(answers.values):
            return (0,) * len(self.names)
        if answers.numeric != self.like.numeric:
            raise Incomparable("is text in some answers and numbers in others; let both sides answer the same kind")
        if answers.ragged and not self.like.ragged:
            raise Incomparable("has rows of one length from stable at first and of several in later answers")
        if not self.like.ragged and answers.shape != self.like.shape:
            shapes = f"{list(self.like.shape)} from stable at first and {list(answers.shape)} in later answers"
            raise Incomparable(f"has shape {shapes} for each row; compare another output")
        with np.errstate(all="ignore"):
            bins = self.place(self.reduce(answers))
        return tuple(np.bincount(bins, minlength=len(self.names)).tolist())


def fixed(first: Column) -> Bins:
    """Of stable's first predictions."""
    with np.errstate(all="ignore"):
        reduce = _reduction(first)
        seen = reduce(first)
    if seen.dtype.kind == "f":
        return _numbers(first, reduce, seen)
    return _labels(first, reduce, seen)


def _reduction(first: Column) -> Callable[[Column], Array]:
    if first.ragged:
        return _lengths if first.numeric else _texts
    if not first.numeric or first.kind == "b":
        return _texts
    values = first.values.reshape(len(first.values), -1)
    if first.kind == "i" and values.shape[1] == 1 and len(np.unique(values)) <= _FEW:
        return _texts
    if first.kind == "f" and distributions(values).all():
        return _largest
    if values.shape[1] == 1:
        return lambda answers: answers.values.reshape(-1).astype(np.float64)
    return _along(values.astype(np.float64))


def _lengths(answers: Column) -> Array:
    rows = answers.values if answers.ragged else answers.values.reshape(len(answers.values), -1)
    return np.array([np.linalg.norm(np.asarray(row, np.float64)) for row in rows], np.float64)


def _texts(answers: Column) -> Array:
    """Of several labels in one answer the first; whole numbers read the same where they came as floats."""
    firsts = (row if np.ndim(row) == 0 else (np.ravel(row).tolist() or [""])[0] for row in answers.values)
    return np.array([_text(value) for value in firsts], object)


def _text(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)[:_LONG]


def _largest(answers: Column) -> Array:
    values = answers.values.reshape(len(answers.values), -1).astype(np.float64)
    named = np.where(np.isnan(values).any(axis=1), -1, values.argmax(axis=1))
    return np.array([str(i) if i >= 0 else "nan" for i in named.tolist()], object)


def _along(first: Array) -> Callable[[Column], Array]:
    mean = first[np.isfinite(first).all(axis=1)].sum(axis=0)
    length = np.linalg.norm(mean)
    direction = mean / length if np.isfinite(length) and length > 0 else np.full(first.shape[1], first.shape[1] ** -0.5)

    def reach(answers: Column) -> Array:
        return np.asarray(answers.values.reshape(len(answers.values), -1).astype(np.float64) @ direction)

    return reach


def _numbers(first: Column, reduce: Callable[[Column], Array], seen: Array) -> Bins:
    edges = _edges(np.sort(seen[np.isfinite(seen)]))
    names = (*(repr(edge) for edge in edges.tolist()), "inf")
    # NaN sorts behind all edges: it is counted with what is infinite, never left out.
    return Bins(names, first, reduce, lambda values: np.searchsorted(edges, values, side="left"))


def _edges(seen: Array) -> Array:
    """Ascending upper edges; all but the last two bins end at a quantile of `seen`, which is sorted."""
    if not len(seen):
        return np.array([np.finfo(np.float64).max])
    least = _ROUNDING * np.maximum(np.abs(seen[:-1]), np.abs(seen[1:]))
    cuts = np.flatnonzero(np.diff(seen) > least)
    wanted = np.arange(1, QUANTILES) * len(seen) // QUANTILES - 1
    after = np.searchsorted(cuts, wanted)
    inner = [(seen[i] + seen[i + 1]) / 2 for i in np.unique(cuts[after[after < len(cuts)]])]
    margin = 0.001 * (np.abs(seen).max() or 1.0)
    return np.array([seen[0] - margin, *inner, seen[-1] + margin])


def _labels(first: Column, reduce: Callable[[Column], Array], seen: Array) -> Bins:
    often = Counter(seen.tolist())
    often.pop(_OTHER, None)
    kept = sorted(often, key=lambda label: (-often[label], label))[:_MOST_LABELS]
    kept.sort(key=_order)
    index = {label: i for i, label in enumerate(kept)}
    other = len(kept)

    def place(labels: Array) -> Array:
        return np.array([index.get(label, other) for label in labels.tolist()], np.int64)

    return Bins((*kept, _OTHER), first, reduce, place)


def _order(label: str) -> tuple[bool, float, str]:
    number = label.removeprefix("-")
    whole = number.isascii() and number.isdigit() and len(number) < _LONG
    return (False, float(label), label) if whole else (True, 0.0, label)

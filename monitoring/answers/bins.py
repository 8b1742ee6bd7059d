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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

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


By = Literal["text", "largest", "number", "length", "along"]


@dataclass(frozen=True, slots=True)
class Bins:
    """A value that JSON can hold, so that what one process fixed another goes on with.

    `by`: what makes one number or label of each answer. Numbers: the names are their bins' upper edges, the last one
    infinity. Labels: the names are they, and the last one is for all others.
    """

    names: tuple[str, ...]
    by: By
    numeric: bool
    ragged: bool
    shape: tuple[int, ...]
    """Of one row of the answers that they were made of."""
    direction: tuple[float, ...] = ()
    """Of `along`."""

    def count(self, answers: Column) -> tuple[int, ...]:
        """Raises `Incomparable` for answers of another kind than those that the bins were made of."""
        if not len(answers.values):
            return (0,) * len(self.names)
        if answers.numeric != self.numeric:
            raise Incomparable("is text in some answers and numbers in others; let both sides answer the same kind")
        if answers.ragged and not self.ragged:
            raise Incomparable("has rows of one length from stable at first and of several in later answers")
        if not self.ragged and answers.shape != self.shape:
            shapes = f"{list(self.shape)} from stable at first and {list(answers.shape)} in later answers"
            raise Incomparable(f"has shape {shapes} for each row; compare another output")
        with np.errstate(all="ignore"):
            bins = self._place(_reduced(answers, self.by, self.direction))
        return tuple(np.bincount(bins, minlength=len(self.names)).tolist())

    def _place(self, seen: Array) -> Array:
        if self.by not in _LABELS:
            # NaN sorts behind all edges: it is counted with what is infinite, never left out.
            return np.searchsorted(np.array(self.names[:-1], np.float64), seen, side="left")
        index = {label: i for i, label in enumerate(self.names[:-1])}
        return np.array([index.get(label, len(index)) for label in seen.tolist()], np.int64)


def fixed(first: Column) -> Bins:
    """Of stable's first predictions."""
    with np.errstate(all="ignore"):
        by = _reduction(first)
        direction = _direction(first) if by == "along" else ()
        seen = _reduced(first, by, direction)
    names = _labels(seen) if by in _LABELS else _numbers(seen)
    return Bins(names, by, first.numeric, first.ragged, first.shape, direction)


def known(found: Mapping[str, Any]) -> Bins:
    """From JSON. Raises `KeyError`, `TypeError` or `ValueError`."""
    names, shape = tuple(map(str, found["names"])), tuple(map(int, found["shape"]))
    if found["by"] not in (*_REDUCTIONS, "along"):
        raise ValueError(found["by"])
    direction = tuple(map(float, found["direction"]))
    bins = Bins(names, found["by"], bool(found["numeric"]), bool(found["ragged"]), shape, direction)
    if found["by"] not in _LABELS:
        np.array(names[:-1], np.float64)  # numbers they must be
    return bins


def _reduction(first: Column) -> By:
    if first.ragged:
        return "length" if first.numeric else "text"
    if not first.numeric or first.kind == "b":
        return "text"
    values = first.values.reshape(len(first.values), -1)
    if first.kind == "i" and values.shape[1] == 1 and len(np.unique(values)) <= _FEW:
        return "text"
    if first.kind == "f" and distributions(values).all():
        return "largest"
    return "number" if values.shape[1] == 1 else "along"


def _reduced(answers: Column, by: By, direction: tuple[float, ...]) -> Array:
    if by == "along":
        return np.asarray(answers.values.reshape(len(answers.values), -1).astype(np.float64) @ np.array(direction))
    return _REDUCTIONS[by](answers)


def _number(answers: Column) -> Array:
    return np.asarray(answers.values.reshape(-1).astype(np.float64))


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


def _direction(first: Column) -> tuple[float, ...]:
    values = first.values.reshape(len(first.values), -1).astype(np.float64)
    mean = values[np.isfinite(values).all(axis=1)].sum(axis=0)
    length = np.linalg.norm(mean)
    usable = np.isfinite(length) and length > 0
    return tuple((mean / length if usable else np.full(len(mean), len(mean) ** -0.5)).tolist())


def _numbers(seen: Array) -> tuple[str, ...]:
    edges = _edges(np.sort(seen[np.isfinite(seen)]))
    return (*(repr(edge) for edge in edges.tolist()), "inf")


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


def _labels(seen: Array) -> tuple[str, ...]:
    often = Counter(seen.tolist())
    often.pop(_OTHER, None)
    kept = sorted(often, key=lambda label: (-often[label], label))[:_MOST_LABELS]
    kept.sort(key=_order)
    return (*kept, _OTHER)


def _order(label: str) -> tuple[bool, float, str]:
    number = label.removeprefix("-")
    whole = number.isascii() and number.isdigit() and len(number) < _LONG
    return (False, float(label), label) if whole else (True, 0.0, label)


_REDUCTIONS: Mapping[By, Callable[[Column], Array]] = {
    "text": _texts,
    "largest": _largest,
    "number": _number,
    "length": _lengths,
}
_LABELS = frozenset({"text", "largest"})

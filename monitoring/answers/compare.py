"""Whether two sides' answers are the same, row by row: see `Comparison` for the rules."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockgate.monitoring.answers.columns import Array, Column, rows_of
from lockgate.monitoring.answers.correlation import cosine, spearman
from lockgate.monitoring.answers.errors import Incomparable
from lockgate.monitoring.answers.words import Comparison

FARTHEST = 1e6
_SUMS = 0.01
"""How far from 1 the elements of a distribution may sum to: scores of half precision."""


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Both (rows,): whether the answers differ, and how far they do, see `Example.far`."""

    differ: Array
    far: Array


def compare(stable: Column, other: Column, how: Comparison) -> Differences:
    """Raises `Incomparable`: what follows the output's name in a sentence."""
    if stable.numeric != other.numeric:
        one, two = ("numbers", "text") if stable.numeric else ("text", "numbers")
        raise Incomparable(f"is {one} from stable and {two} from the candidate; let both answer the same kind")
    ragged = stable.ragged or other.ragged
    if not ragged and stable.shape != other.shape:
        shapes = f"{list(stable.shape)} from stable and {list(other.shape)} from the candidate"
        raise Incomparable(f"has shape {shapes} for each row; compare another output")
    if how.by == "function":
        return _by_function(stable.values, other.values, how)
    with np.errstate(all="ignore"):
        return _ragged(stable, other, how) if ragged else _compared(stable.values, other.values, how)


def _ragged(stable: Column, other: Column, how: Comparison) -> Differences:
    """Vectors of one length together; those of different lengths differ."""
    ours, theirs = rows_of(stable), rows_of(other)
    found = Differences(np.ones(len(ours), bool), np.full(len(ours), FARTHEST))
    lengths = np.array([len(one) if len(one) == len(two) else -1 for one, two in zip(ours, theirs, strict=True)], int)
    for length in set(lengths.tolist()) - {-1}:
        rows = np.flatnonzero(lengths == length)
        same = _compared(np.stack(ours[rows].tolist()), np.stack(theirs[rows].tolist()), how)
        found.differ[rows], found.far[rows] = same.differ, same.far
    return found


def _compared(ours: Array, theirs: Array, how: Comparison) -> Differences:
    """(rows, ...) each, of one shape."""
    vectors = ours.ndim > 1
    ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    floats = "f" in (ours.dtype.kind, theirs.dtype.kind)
    if how.by in ("score", "rank", "cosine") and "O" in (ours.dtype.kind, theirs.dtype.kind):
        raise Incomparable(f"is text, which has no {how.by}; write `by: label`")
    if how.by in ("rank", "cosine"):
        return _correlated(ours, theirs, how)
    if how.by == "score" or (how.by == "auto" and floats and not vectors):
        return _by_score(ours, theirs, how)
    if not floats or not vectors:
        return _by_label(ours, theirs)
    if how.by == "label":
        return _by_largest(ours, theirs, how)
    return _by_row(ours, theirs, how)


def distributions(values: Array) -> Array:
    """Which rows of (rows, n) are shares that sum to 1."""
    if values.shape[1] < 2:
        return np.zeros(len(values), bool)
    near = np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= _SUMS
    return np.asarray(near & (values >= 0).all(axis=1) & (values <= 1 + _SUMS).all(axis=1))


def _by_row(ours: Array, theirs: Array, how: Comparison) -> Differences:
    """Stable's answer says what it is: a distribution names a label, anything else is scores."""
    found, shares = _by_score(ours, theirs, how), distributions(ours)
    labels = _by_largest(ours[shares], theirs[shares], how)
    found.differ[shares], found.far[shares] = labels.differ, labels.far
    return found


def _by_label(ours: Array, theirs: Array) -> Differences:
    wrong = np.asarray(ours != theirs, bool)
    if "f" in (ours.dtype.kind, theirs.dtype.kind):
        wrong &= ~((ours != ours) & (theirs != theirs))  # noqa: PLR0124 - NaN, also beside whole numbers
    far = wrong.mean(axis=1) if wrong.size else np.zeros(len(wrong))
    return Differences(np.asarray(wrong.any(axis=1)), far)


def _by_largest(ours: Array, theirs: Array, how: Comparison) -> Differences:
    """Two elements that are equal but for `atol` may change their order by rounding alone."""
    if not ours.size:
        return Differences(np.zeros(len(ours), bool), np.zeros(len(ours)))
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    rows, named = np.arange(len(ours)), theirs.argmax(axis=1)
    level = ours.max(axis=1) - ours[rows, named] <= how.atol
    same = ((ours.argmax(axis=1) == named) | level) & (np.isnan(ours) == np.isnan(theirs)).all(axis=1)
    far = np.abs(ours - theirs).sum(axis=1) / 2
    return Differences(~same, np.minimum(np.nan_to_num(far, nan=FARTHEST), FARTHEST))


def _by_score(ours: Array, theirs: Array, how: Comparison) -> Differences:
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    off = np.abs(ours - theirs)
    off[(ours == theirs) | (np.isnan(ours) & np.isnan(theirs))] = 0.0
    off = np.nan_to_num(off, nan=np.inf, posinf=np.inf)
    allowed = np.nan_to_num(how.atol + how.rtol * np.abs(ours), nan=0.0, posinf=0.0)
    times = np.where(off > 0, off / allowed, 0.0).max(axis=1, initial=0.0)
    return Differences((off > allowed).any(axis=1), np.minimum(times, FARTHEST))


def _correlated(ours: Array, theirs: Array, how: Comparison) -> Differences:
    if how.by == "rank" and ours.shape[1] < 2:
        raise Incomparable("has one score for each row, which have no order; write `by: score`")
    measured = spearman(ours, theirs) if how.by == "rank" else cosine(ours, theirs)
    return Differences(measured < how.least - 1e-9, 1 - measured)  # rounding: 1 may come out a little less


def _by_function(ours: Array, theirs: Array, how: Comparison) -> Differences:
    if not len(ours):
        return Differences(np.zeros(0, bool), np.zeros(0))
    agree = _asked(ours, theirs, str(how.function))
    if agree.shape != (len(ours),) or agree.dtype != bool:
        shape = f"{agree.dtype} of shape {list(agree.shape)}"
        raise Incomparable(f"cannot be compared: {how.function} returned {shape}, not {len(ours)} truth values")
    return Differences(~agree, (~agree).astype(np.float64))


def _asked(ours: Array, theirs: Array, function: str) -> Array:
    module, _, name = function.partition(":")
    try:
        says: Any = getattr(importlib.import_module(module), name)(ours.copy(), theirs.copy())
        return np.asarray(says)
    except (Exception, SystemExit) as reason:  # it is not our code
        what = f"{type(reason).__name__}: {reason}"[:300]
        raise Incomparable(f"cannot be compared: {function} raised {what}") from reason

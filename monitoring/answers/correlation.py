"""How alike two vectors are in their order and in their direction, for many pairs at once."""

from __future__ import annotations

import numpy as np

from lockgate.monitoring.answers.columns import Array


def spearman(ours: Array, theirs: Array) -> Array:
    """(rows,) of -1 to 1: the correlation of the ranks in each row of two (rows, n); equal values share their rank.

    Where all values of a row are equal there is no order: 1 when it is so on both sides, else 0. NaN ranks as the
    largest; -1 where only one side has it.
    """
    one, two = _ranks(ours), _ranks(theirs)
    one, two = one - one.mean(axis=1, keepdims=True), two - two.mean(axis=1, keepdims=True)
    return _angle(one, two, ours, theirs)


def cosine(ours: Array, theirs: Array) -> Array:
    """(rows,) of -1 to 1: of each row of two (rows, n). Two zero vectors: 1; one of them: 0. NaN on one side: -1."""
    return _angle(_scaled(ours), _scaled(theirs), ours, theirs)


def _angle(one: Array, two: Array, ours: Array, theirs: Array) -> Array:
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1)
    product = lengths[0] * lengths[1]
    found = np.divide((one * two).sum(axis=1), product, out=np.zeros(len(one)), where=product > 0)
    found[(lengths[0] == 0) & (lengths[1] == 0)] = 1.0
    same = (np.isfinite(ours.astype(np.float64)) == np.isfinite(theirs.astype(np.float64))).all(axis=1)
    return np.where(same, np.clip(found, -1.0, 1.0), -1.0)


def _scaled(values: Array) -> Array:
    """To a largest element of 1, so that no square overflows; what is not finite, and zero vectors, become zeros."""
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
    return np.asarray(np.divide(values, largest, out=np.zeros_like(values), where=largest > 0))


def _ranks(values: Array) -> Array:
    """(rows, n): from 0 upwards; equal values get the mean of the ranks that they take."""
    rows, n = values.shape
    numbers = np.where(np.isnan(values.astype(np.float64)), np.inf, values.astype(np.float64))
    order = np.argsort(numbers, axis=1, kind="stable")
    ordered = np.take_along_axis(numbers, order, axis=1)
    begins = np.ones((rows, n), bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.cumsum(begins.ravel()) - 1
    places = np.tile(np.arange(n, dtype=np.float64), rows)
    mean = np.bincount(group, places) / np.bincount(group)
    found = np.empty((rows, n))
    np.put_along_axis(found, order, mean[group].reshape(rows, n), axis=1)
    return found

"""Rows like the input example's: the sample that parity is proven on, and the calibration of int8."""

from __future__ import annotations

import numpy as np

from .words import Array, Arrays

MOST_BYTES = 64 * 2**20
_SPREAD = 0.1


def sample(example: Arrays, rows: int, seed: int = 0) -> Arrays:
    """The example's rows, then rows made from them column by column, `rows` in all, at least 2; dtypes are kept.

    Floats lie between two of the column's values; whole numbers and other types are drawn from the column. The same
    example gives the same sample. Large rows (images) give a smaller sample, of `MOST_BYTES` at most.
    """
    row_bytes = sum(value[:1].nbytes for value in example.values())
    count = max(2, min(rows, MOST_BYTES // max(1, row_bytes)))
    rng = np.random.default_rng(seed)
    return {name: _extended(value, count, rng) for name, value in example.items()}


def _extended(value: Array, count: int, rng: np.random.Generator) -> Array:
    if len(value) >= count:
        return value[:count]
    shape = (count - len(value), *value.shape[1:])
    made = _between(value, shape, rng) if measures(value) else _drawn(value, shape, rng)
    return np.concatenate([value, made.astype(value.dtype)])


def measures(value: Array) -> bool:
    """Floats, and not codes in disguise: between two whole numbers may be a category that the model refuses."""
    if value.dtype.kind != "f":
        return False
    known = value[np.isfinite(value)]
    return bool((known != np.trunc(known)).any())


def _drawn(value: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Each cell from the same column of a random row."""
    rows = rng.integers(0, len(value), shape)
    return np.take_along_axis(value, rows, axis=0)


def _between(value: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    low, high = _drawn(value, shape, rng), _drawn(value, shape, rng)
    if len(value) == 1:  # one row has no range; a tenth of each value stands for it
        low, high = low * (1 - _SPREAD), high * (1 + _SPREAD)
    with np.errstate(invalid="ignore"):  # between infinities
        return np.asarray(low + (high - low) * rng.random(shape))

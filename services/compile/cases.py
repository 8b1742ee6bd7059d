"""What parity is tried on: rows like the example's, in several batch sizes and layouts, and rows at the edge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .sample import measures
from .words import Array, Arrays, Input

SAMPLE = "sample"
ZEROS, EXTREMES, MISSING = "zeros", "extremes", "missing values"
SIZES = {"shorter rows": 0.5, "longer rows": 1.5}
"""Times the example's sizes, where the signature leaves them free."""
_BEYOND = 10.0
"""Extremes lie this many ranges of the column beyond its smallest and largest value."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    x: Arrays
    y: Arrays
    edge: bool = False
    """Judged at the scale of the outputs; says nothing about the share of labels that agree."""


def rows_of(x: Arrays) -> int:
    return len(next(iter(x.values())))


def first(x: Arrays, n: int) -> Arrays:
    """`n` rows, beginning again after the last."""
    at = np.arange(n) % rows_of(x)
    return {name: np.ascontiguousarray(value[at]) for name, value in x.items()}


def strided(x: Arrays) -> Arrays:
    """The same values, not contiguous: compiled kernels were seen to misread such arrays without an error."""
    return {name: _strided(value) for name, value in x.items()}


def tried(sample: Case, edges: tuple[Case, ...], max_batch: int) -> Iterator[Case]:
    """Small batches first, so that what breaks only larger ones is known by its name."""
    for n in sorted({1, 2, max_batch}):
        yield Case(f"a batch of {n}", first(sample.x, n), first(sample.y, n))
    for n in sorted({1, 2, max_batch}):
        yield Case(f"a strided batch of {n}", strided(first(sample.x, n)), first(sample.y, n))
    yield sample
    yield from edges


def edges(sample: Arrays, inputs: tuple[Input, ...]) -> dict[str, Arrays]:
    """Inputs of each edge case; whether the source accepts them is for the source to say."""
    found = {ZEROS: {name: _zero(value[:2]) for name, value in sample.items()}}
    if any(value.dtype.kind in "fiu" for value in sample.values()):
        found[EXTREMES] = {name: _extreme(value) for name, value in sample.items()}
    optional = {i.name for i in inputs if not i.required and np.dtype(i.dtype).kind == "f"}
    if optional:
        found[MISSING] = {name: _missing(value, name in optional) for name, value in sample.items()}
    free = {i.name: [axis for axis, size in enumerate(i.shape) if axis and size < 0] for i in inputs}
    if any(free.values()):
        for case, times in SIZES.items():
            found[case] = {name: _resized(value[:4], free.get(name, []), times) for name, value in sample.items()}
    return found


def _strided(value: Array) -> Array:
    """In the last dimension too, for one row is contiguous whatever the distance to the next."""
    apart = np.repeat(value, 2, axis=0)[::2]
    return apart if value.ndim == 1 else np.repeat(apart, 2, axis=-1)[..., ::2]


def _zero(value: Array) -> Array:
    return np.zeros_like(value) if value.dtype.kind in "fiu" else value


def _extreme(value: Array) -> Array:
    """Four rows: smallest, largest, and for measured floats far below and far above."""
    if value.dtype.kind not in "fiu":
        return np.ascontiguousarray(value[np.arange(4) % len(value)])
    low, high = np.fmin.reduce(value, axis=0), np.fmax.reduce(value, axis=0)  # of what is not missing
    if not measures(value):  # codes: nothing lies beyond
        return np.stack([low, high, low, high])
    reach = _BEYOND * (high - low)
    return np.stack([low, high, low - reach, high + reach]).astype(value.dtype)


def _resized(value: Array, axes: list[int], times: float) -> Array:
    """Its beginning, or beginning again after its end."""
    for axis in axes:
        size = value.shape[axis]
        value = np.take(value, np.arange(max(1, round(size * times))) % max(1, size), axis) if size else value
    return np.ascontiguousarray(value)


def _missing(value: Array, optional: bool) -> Array:  # noqa: FBT001 - a property of the column
    rows = value[:4].copy()
    if optional:
        rows[::2] = np.nan
    return rows

"""Answers as numpy arrays, one row of them for each record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

from lockgate.monitoring.answers.errors import Incomparable

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """`values`: (rows, ...), or where `ragged` (rows,) of vectors. `present`: (rows,), whether there is an answer.

    `kind`: `f` floats, `i` whole numbers, `b` truth values, `O` text and everything else.
    """

    values: Array
    present: Array
    kind: str
    ragged: bool = False

    def take(self, rows: Array) -> Column:
        return Column(self.values[rows], self.present[rows], self.kind, self.ragged)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row's answer."""
        return self.values.shape[1:]

    @property
    def numeric(self) -> bool:
        return self.kind != "O"


def column(array: Any, field: Any) -> Column:
    """Of an Arrow array and its field, whose metadata may say what shape a flattened tensor had."""
    present = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    kept = array if present.all() else array.drop_null()
    if pa.types.is_fixed_size_list(array.type) and not pa.types.is_nested(array.type.value_type):
        flat = _plain(kept.flatten())
        values = flat.reshape(len(kept), *_shape(field, array.type.list_size))
    elif _varies(array.type):
        values = _vectors(kept)
        if not len(values) or values.dtype == object:
            return Column(_spread(values, present), present, _kind(_plain(kept.flatten()).dtype), ragged=True)
    else:
        values = _plain(kept)
    return Column(_spread(values, present), present, _kind(values.dtype))


def stacked(parts: Sequence[Column]) -> Column:
    """One under the other; ragged where they differ in length. Raises `Incomparable` for text beside numbers."""
    if len({part.numeric for part in parts}) > 1:
        raise Incomparable("is text in some answers and numbers in others")
    kind = max((part.kind for part in parts), key="bifO".index)
    present = np.concatenate([part.present for part in parts])
    if any(part.ragged for part in parts) or len({part.shape for part in parts}) > 1:
        return Column(np.concatenate([rows_of(part) for part in parts]), present, kind, ragged=True)
    return Column(np.concatenate([part.values for part in parts]), present, kind)


def rows_of(part: Column) -> Array:
    """(rows,) of objects: each row's answer as a flat vector."""
    if part.ragged:
        return part.values
    return _objects([np.ravel(value) for value in part.values])


def _varies(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and not pa.types.is_nested(kind.value_type)


def _vectors(lists: Any) -> Array:
    """(rows, length) where all have one length, else (rows,) of vectors."""
    flat, ends = _plain(lists.flatten()), np.cumsum(lists.value_lengths().to_numpy())
    if len(ends) and (np.diff(ends, prepend=0) == ends[0]).all():
        return flat.reshape(len(ends), -1) if ends[0] else flat.reshape(len(ends), 0)
    return _objects(np.split(flat, ends[:-1]) if len(ends) else [])


def _objects(values: Sequence[Array]) -> Array:
    found = np.empty(len(values), object)
    for i, value in enumerate(values):
        found[i] = value
    return found


def _plain(array: Any) -> Array:
    """Numbers as they are; text, dictionaries of text and what else there is as objects."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _plain(array.cast(kind.value_type))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    return _objects(array.to_pylist())


def _kind(dtype: Any) -> str:
    return {"u": "i"}.get(dtype.kind, dtype.kind if dtype.kind in "fib" else "O")


def _shape(field: Any, size: int) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in json.loads((field.metadata or {}).get(b"shape", b"")))
    except (ValueError, TypeError):
        return (size,)
    return shape if np.prod(shape, dtype=np.int64) == size and min(shape, default=0) >= 0 else (size,)


def _spread(values: Array, present: Array) -> Array:
    """One row for each record again; those without an answer hold zeros."""
    if len(values) == len(present):
        return values
    found = np.zeros((len(present), *values.shape[1:]), values.dtype)
    found[present] = values
    return found

"""Answers as numpy arrays, one row of them for each record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]
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
    """Of an Arrow array and its field. Tensors are lists, whose metadata says what shape they had.

    Where it says none, or one with a free dimension, each row is a vector of its own length.
    """
    present = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    kept = array if present.all() else array.drop_null()
    if not _of_plain(array.type):
        values = _plain(kept)
    else:
        flat, shape = _plain(kept.flatten()), _shape(field)
        if shape is None or len(flat) != len(kept) * np.prod(shape, dtype=np.int64) or not _even(kept):
            return Column(_spread(_split(flat, kept), present), present, _kind(flat.dtype), ragged=True)
        values = flat.reshape(len(kept), *shape)
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


def _of_plain(kind: Any) -> bool:
    """Lists of values that are no lists."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists) and not pa.types.is_nested(kind.value_type)


def _even(lists: Any) -> bool:
    return bool((np.diff(_lengths(lists)) == 0).all())


def _split(flat: Array, lists: Any) -> Array:
    """(rows,) of vectors."""
    ends = np.cumsum(_lengths(lists))
    return _objects(np.split(flat, ends[:-1]) if len(ends) else [])


def _lengths(lists: Any) -> Array:
    return np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False))


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


def _shape(field: Any) -> tuple[int, ...] | None:
    """Of one row, where it is fixed."""
    fixed = (field.type.list_size,) if pa.types.is_fixed_size_list(field.type) else None
    try:
        shape = tuple(int(n) for n in json.loads((field.metadata or {}).get(b"shape", b"")))
    except (ValueError, TypeError):
        return fixed
    if min(shape, default=0) < 0 or (fixed and np.prod(shape, dtype=np.int64) != fixed[0]):
        return fixed
    return shape


def _spread(values: Array, present: Array) -> Array:
    """One row for each record again; those without an answer hold zeros."""
    if len(values) == len(present):
        return values
    found = np.zeros((len(present), *values.shape[1:]), values.dtype)
    found[present] = values
    return found

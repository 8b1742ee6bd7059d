"""Columns of a table in the fast way. It knows only what is right: for the rest `fields` has the checks and sentences.

Every value's type and range is looked at here too. One row, the most usual request, is looked at in Python, for numpy
takes more time to begin with an array of one number than Python takes for the number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from .fields import Array, Field
from .refusals import BadRequest

Cell = Callable[[Any], Array | None]
"""An array of one value; None where something is odd about it."""


class Rows:
    """What these columns make of rows. Every answer may be None: then nothing was decided."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._cells = [(f.name, _cell(f)) for f in fields]
        self._columns = [(f, itemgetter(f.name)) for f in fields]

    def one(self, row: Mapping[str, Any]) -> dict[str, Array] | None:
        """Of one row's values by name."""
        found: dict[str, Array] = {}
        for name, cell in self._cells:
            value = cell(row.get(name))
            if value is None:
                return None
            found[name] = value
        return found

    def records(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Array] | None:
        """Of rows that are objects."""
        if len(rows) == 1:
            return self.one(rows[0])
        try:
            return {f.name: f.flat(_values(f, value, rows), len(rows)) for f, value in self._columns}
        except (BadRequest, KeyError):
            return None

    def lists(self, columns: Mapping[str, Any]) -> dict[str, Array] | None:
        """Of columns that are lists; what has another length than the first is odd."""
        first = columns.get(self._cells[0][0])
        if type(first) is not list or any(type(c) is not list or len(c) != len(first) for c in columns.values()):
            return None
        rows = len(first)
        if rows == 1:
            return self.one({name: value[0] for name, value in columns.items()})
        try:
            return {f.name: _column(f, columns, rows) for f, _ in self._columns} if rows else None
        except BadRequest:
            return None


def _column(field: Field, columns: Mapping[str, list[Any]], rows: int) -> Array:
    return field.flat(columns[field.name], rows) if field.name in columns else field.missing(rows)


def _values(field: Field, value: Callable[[Any], Any], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    return list(map(value, rows)) if field.required else [row.get(field.name) for row in rows]


def _cell(field: Field) -> Cell:
    dtype = np.dtype(field.dtype)
    if dtype.kind == "f":
        return _number(dtype, (float, int), float(np.finfo(dtype).min), float(np.finfo(dtype).max), field.nothing)
    if dtype.kind in "iu":
        return _number(dtype, (int,), int(np.iinfo(dtype).min), int(np.iinfo(dtype).max), None)
    if dtype.kind in "bO":
        return _plain(dtype, bool if dtype.kind == "b" else str, field.nothing)
    return _other(field)


def _number(
    dtype: np.dtype[Any], types: tuple[type, ...], least: float, most: float, nothing: tuple[Any] | None
) -> Cell:
    array, ours = np.array, frozenset(types)

    def cell(value: Any) -> Array | None:
        if type(value) in ours and least <= value <= most:
            return array((value,), dtype)
        return array(nothing, dtype) if value is None and nothing else None

    return cell


def _plain(dtype: np.dtype[Any], ours: type, nothing: tuple[Any] | None) -> Cell:
    array = np.array

    def cell(value: Any) -> Array | None:
        if type(value) is ours or (value is None and nothing):
            return array((value,), dtype)
        return None

    return cell


def _other(field: Field) -> Cell:
    def cell(value: Any) -> Array | None:
        try:
            return field.flat([value], 1)
        except BadRequest:
            return None

    return cell

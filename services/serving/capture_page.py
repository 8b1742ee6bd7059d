"""Requests packed column by column while their values are still in the processor's cache.

Objects that are kept for a second cost more than they say: new requests get cold memory in their place, and the writer
finds them cold again. Packed, an ordinary request is 200 bytes, and a second of them is one array for each column.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .body import Head
from .fields import Array

MOST_ROWS = 64
"""Of one request."""
LARGEST = 64 * 2**10
"""Bytes of one value of one row; a larger one is not kept."""
KINDS = {b"": 0, b"1": 1, b"echo": 2, b"forced": 3}
OBJECT = 64
"""Bytes of a small object in memory."""
_HEAD = struct.Struct("<HHHBdfI")
_HEAD_TYPE = np.dtype(
    {
        "names": ["id", "unit", "variant", "kind", "at", "seconds", "rows"],
        "formats": ["<u2", "<u2", "<u2", "u1", "<f8", "<f4", "<u4"],
    }
)
_OF_ONE = _HEAD.size + 128
"""Bytes of a request besides its values and its unit."""
_MOST_VARIANTS = 100
_NUMBER = 32
"""Bytes of a number in a list, with its place there."""
_FEW, _DEEP = 8, 4
_ANSWERED = 200
_NUMBERS = frozenset({float, int, bool, type(None)})
Values = dict[str, list[Array]]
"""Parts by column; a column that is not there is null."""


@dataclass(frozen=True, slots=True)
class Part:
    """Requests that have the same columns.

    `about`: of each request its id, variant, kind (one of `KINDS`), unit as it came, status, unix time, seconds, rows.
    """

    about: Sequence[Sequence[Any]]
    counts: Array
    """Rows of each request that are kept; one of a failed request, which has none."""
    values: Values


class Page:
    """Takes requests that are like its first one. `names`: of the inputs.

    `width`: how many inputs there are where a request's may be the columns of one matrix, else 0: see `Schema`.
    """

    def __init__(self, names: Sequence[str], width: int) -> None:
        self._names, self._width = names, width
        self._texts, self._heads, self._whole = bytearray(), bytearray(), bytearray()
        self._variants: dict[bytes, int] = {}
        self._inputs: tuple[_Column, ...] = ()
        self._outputs: tuple[_Column, ...] = ()
        self._matrix, self._row_bytes = np.dtype(float), 0
        self.count = 0
        self.size = 0

    def add(self, request: Head, at: float, seconds: float) -> bool:
        """False, and nothing is added, when it is unlike the others. Runs for each request: few steps, no calls."""
        x, outputs, rows = request.inputs, request.outputs or {}, request.rows
        if not self.count and not self._begin(x, outputs):
            return False
        whole = x[self._names[0]].base if self._width else None
        if self._width and (type(whole) is not np.ndarray or whole.shape != (rows, self._width)):
            return False
        for column in self._outputs:
            value = outputs.get(column.name)
            shape = column.one if rows == 1 else (rows, *column.one[1:])
            if value is None or value.dtype != column.dtype or value.shape != shape:
                return False
        variant = self._variants.get(request.variant, len(self._variants))
        if variant > _MOST_VARIANTS or len(outputs) != len(self._outputs):
            return False
        if variant == len(self._variants):
            self._variants[request.variant] = variant
        if whole is not None:
            self._whole += whole.tobytes()
        for column in self._inputs:
            self.size += column.add(x[column.name])
        for column in self._outputs:
            self.size += column.add(outputs[column.name])
        unit, shadow = request.unit, KINDS.get(request.shadow, 0)
        self._texts += request.id + unit
        self._heads += _HEAD.pack(len(request.id), len(unit), variant, shadow, at, seconds, rows)
        self.count += 1
        self.size += self._row_bytes * rows + len(unit) + _OF_ONE
        return True

    def part(self) -> Part:
        heads = np.frombuffer(self._heads, _HEAD_TYPE)
        texts, variants = bytes(self._texts), list(self._variants)
        units = np.cumsum(heads["id"].astype("int64") + heads["unit"]).tolist()
        ids = (np.array(units, "int64") - heads["unit"]).tolist()
        starts = [0, *units[:-1]]
        values: Values = {}
        if self._width:
            dtype, names = self._matrix, self._names
            side_by_side = np.ascontiguousarray(np.frombuffer(self._whole, dtype).reshape(-1, self._width).T)
            values = {f"input.{name}": [one] for name, one in zip(names, side_by_side, strict=True)}
        values |= {f"input.{column.name}": [column.values()] for column in self._inputs}
        values |= {f"output.{column.name}": [column.values()] for column in self._outputs}
        about = [
            [texts[start:end] for start, end in zip(starts, ids, strict=True)],
            [variants[i] for i in heads["variant"].tolist()],
            heads["kind"].tolist(),
            [texts[start:end] for start, end in zip(ids, units, strict=True)],
            [_ANSWERED] * len(heads),
            *(heads[name].tolist() for name in ("at", "seconds", "rows")),
        ]
        return Part(about, heads["rows"].astype("int64"), values)

    def _begin(self, x: Mapping[str, Array], outputs: Mapping[str, Array]) -> bool:
        """Make the columns that the first request asks for."""
        whole = x[self._names[0]].base if self._width else None
        if type(whole) is np.ndarray and whole.shape[1:] == (self._width,):
            self._matrix, self._row_bytes = whole.dtype, whole.itemsize * self._width
        else:
            self._width = 0
            self._inputs = tuple(_Column(name, value) for name, value in x.items())
        self._outputs = tuple(_Column(name, value) for name, value in outputs.items() if value.ndim)
        return len(self._outputs) == len(outputs) and all(column.fits for column in self._outputs)


def weight(item: Any, deep: int = _DEEP) -> int:
    """About the bytes that an object takes in memory. Runs on the event loop: less than 1 us for a list of numbers.

    Of long lists and dicts, and of those inside others, three members are looked at: the largest stands for all.
    """
    kind = type(item)
    if kind in _NUMBERS:
        return _NUMBER
    if kind is str:
        return OBJECT + 4 * len(item)
    if kind is dict:
        item = list(item.values())
    elif kind is not list and kind is not tuple:
        return OBJECT + (item.nbytes if isinstance(item, np.ndarray) else len(item) if kind is bytes else 0)
    many = len(item)
    found = OBJECT * (1 + many) if kind is dict else OBJECT
    if not many or not deep:
        return found + _NUMBER * many
    if many <= _FEW and (deep == _DEEP or kind is dict):
        return found + sum([_NUMBER if type(one) in _NUMBERS else weight(one, deep - 1) for one in item])
    some = item[0], item[many // 2], item[-1]
    return found + many * max([_NUMBER if type(one) in _NUMBERS else weight(one, deep - 1) for one in some])


class _Column:
    """Values one after another: bytes of numbers, a list of texts."""

    __slots__ = ("_bytes", "_texts", "dtype", "fits", "name", "one")

    def __init__(self, name: str, like: Array) -> None:
        self.name, self.dtype = name, like.dtype
        self.one = (1, *like.shape[1:])
        """The shape of one row."""
        text = like.dtype.kind in "OUS"
        self._texts: list[Any] | None = [] if text else None
        self._bytes = bytearray()
        self.fits = not (text and like.ndim > 1) and like.itemsize * int(np.prod(self.one)) <= LARGEST

    def add(self, value: Array) -> int:
        """The bytes that this takes."""
        if self._texts is None:
            self._bytes += value.tobytes()
            return value.nbytes
        items = value.tolist()
        self._texts += items
        return sum([OBJECT + 4 * len(item) if type(item) is str else weight(item) for item in items])

    def values(self) -> Array:
        if self._texts is not None:
            found = np.empty(len(self._texts), object)
            found[:] = self._texts
            return found
        return np.frombuffer(self._bytes, self.dtype).reshape(-1, *self.one[1:])

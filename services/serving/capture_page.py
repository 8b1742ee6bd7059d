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
KINDS = {b"": 0, b"1": 1, b"echo": 2}
OBJECT = 64
"""Bytes of a small object in memory."""
_HEAD = struct.Struct("<HHB16sdfIHB")
_HEAD_TYPE = np.dtype(
    {
        "names": ["id", "variant", "kind", "unit", "at", "seconds", "rows", "status", "kept"],
        "formats": ["<u2", "<u2", "u1", "S16", "<f8", "<f4", "<u4", "<u2", "u1"],
    }
)
_MOST_VARIANTS = 100
Values = dict[str, list[Array]]
"""Parts by column; a column that is not there is null."""


@dataclass(frozen=True, slots=True)
class Part:
    """Requests that have the same columns.

    `about`: of each request its id, variant, kind (one of `KINDS`), unit, status, unix time, seconds, rows.
    """

    about: Sequence[Sequence[Any]]
    counts: Array
    """Rows of each request that are kept; one of a failed request, which has none."""
    values: Values


class Page:
    """Takes requests that are like its first one. `names`: of the inputs, in the order of a matrix's columns."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._ids, self._heads = bytearray(), bytearray()
        self._variants: dict[bytes, int] = {}
        self._matrix: Array | None = None
        self._inputs: dict[str, _Column] = {}
        self._outputs: dict[str, _Column] = {}
        self._whole = bytearray()
        self.count = 0
        self.size = 0

    def add(self, request: Head, unit: bytes, status: int, at: float, seconds: float) -> bool:
        """False, and nothing is added, when it is unlike the others."""
        inputs, outputs, rows = request.inputs, request.outputs or {}, request.rows
        if not self.count and not self._begin(inputs, outputs):
            return False
        variant = self._variants.get(request.variant, len(self._variants))
        matrix = type(inputs) is np.ndarray
        if matrix is (self._matrix is None) or variant > _MOST_VARIANTS or not _alike(self._outputs, outputs, rows):
            return False
        self._variants[request.variant] = variant
        if matrix:
            self._whole += inputs.tobytes()
            self.size += inputs.nbytes
        else:
            for name, column in self._inputs.items():
                self.size += column.add(inputs[name])
        for name, column in self._outputs.items():
            self.size += column.add(outputs[name])
        kind = KINDS.get(request.shadow, 0)
        self._ids += request.id
        self._heads += _HEAD.pack(len(request.id), variant, kind, unit, at, seconds, rows, status, rows)
        self.count += 1
        self.size += _HEAD.size + len(request.id)
        return True

    def part(self) -> Part:
        heads = np.frombuffer(self._heads, _HEAD_TYPE)
        ends = np.cumsum(heads["id"], dtype="int64")
        ids, words = bytes(self._ids), list(self._variants)
        values: Values = {}
        if self._matrix is not None:
            whole = np.frombuffer(self._whole, self._matrix.dtype).reshape(-1, len(self._names))
            side_by_side = np.ascontiguousarray(whole.T)
            values = {f"input.{name}": [one] for name, one in zip(self._names, side_by_side, strict=True)}
        values |= {f"input.{name}": [column.values()] for name, column in self._inputs.items()}
        values |= {f"output.{name}": [column.values()] for name, column in self._outputs.items()}
        about = [
            [ids[start:end] for start, end in zip((ends - heads["id"]).tolist(), ends.tolist(), strict=True)],
            [words[i] for i in heads["variant"].tolist()],
            *(heads[name].tolist() for name in ("kind", "unit")),
            *(heads[name] for name in ("status", "at", "seconds", "rows")),
        ]
        return Part(about, heads["kept"].astype("int64"), values)

    def _begin(self, inputs: Any, outputs: Mapping[str, Array]) -> bool:
        matrix = type(inputs) is np.ndarray
        self._matrix = inputs[:0] if matrix else None
        self._inputs = {} if matrix else {name: _Column(value) for name, value in inputs.items()}
        self._outputs = {name: _Column(value) for name, value in outputs.items() if value.ndim}
        return len(self._outputs) == len(outputs) and all(column.fits for column in self._outputs.values())


class _Column:
    """Values one after another: bytes of numbers, a list of texts."""

    def __init__(self, like: Array) -> None:
        self.dtype, self.shape = like.dtype, like.shape[1:]
        text = like.dtype.kind in "OUS"
        self._texts: list[Any] | None = [] if text else None
        self._bytes = bytearray()
        self.fits = not (text and self.shape) and np.dtype(like.dtype).itemsize * int(np.prod(self.shape)) <= LARGEST

    def add(self, value: Array) -> int:
        """The bytes that this takes."""
        if self._texts is None:
            self._bytes += value.tobytes()
            return value.nbytes
        items = value.tolist()
        self._texts += items
        return sum([OBJECT + 4 * len(item) if type(item) is str else OBJECT for item in items])

    def values(self) -> Array:
        if self._texts is not None:
            found = np.empty(len(self._texts), object)
            found[:] = self._texts
            return found
        return np.frombuffer(self._bytes, self.dtype).reshape(-1, *self.shape)


def _alike(columns: Mapping[str, _Column], values: Mapping[str, Array], rows: int) -> bool:
    if len(values) != len(columns):
        return False
    for name, column in columns.items():
        value = values.get(name)
        if value is None or value.dtype != column.dtype or value.shape != (rows, *column.shape):
            return False
    return True

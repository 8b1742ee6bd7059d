"""The request that a model's signature asks for: decode, then validate every value. No pydantic on this path."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from . import arrow, codecs
from .fields import Array, Field, from_signature
from .refusals import BadRequest
from .rows import Rows

Arrays = dict[str, Array]

_FORMS = ("inputs", "rows", "dataframe_records", "dataframe_split")
_BODY_FORMS = 'the body needs one of "inputs", "rows", "dataframe_records" and "dataframe_split"'


class _Checked(dict[str, Array]):
    """Columns of which everything was checked when they were made: types, finite numbers, names, rows."""


@dataclass(frozen=True)
class Schema:
    fields: tuple[Field, ...]
    max_rows: int = 10_000

    @classmethod
    def of(cls, items: Sequence[Mapping[str, Any]], names: Sequence[str] = (), max_rows: int = 10_000) -> Schema:
        """From the signature's inputs; raises ValueError with a sentence when they cannot be served."""
        return cls(from_signature(items, names), max_rows)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.fields)

    @property
    def columns(self) -> bool:
        return self.fields[0].column

    def decode(self, content_type: str, body: bytes) -> Arrays:
        """Named arrays with the same number of rows, each as the signature says. Raises `BadRequest`."""
        kind = content_type.partition(";")[0].strip().lower()
        if kind in codecs.JSON_TYPES:
            return self.check(self._json(codecs.json_object(body)))
        if kind in arrow.TYPES:
            return self.check(arrow.columns(body, self.fields, self.max_rows))
        if kind in codecs.NPY_TYPES:
            return self.check(self._one(codecs.npy(body), "npy"))
        raise BadRequest(f"content type {kind[:80]!r} is not served; send JSON, npy or an Arrow stream", 415)

    def check(self, raw: Mapping[str, Any]) -> Arrays:
        if type(raw) is _Checked:
            return dict(raw)
        self._sized(raw)
        return self.complete({f.name: f.array(raw[f.name]) for f in self.fields if f.name in raw})

    def complete(self, found: Arrays) -> Arrays:
        """Arrays that are each as the signature says: all that are required, and of as many rows."""
        if absent := [f.name for f in self.fields if f.required and f.name not in found]:
            raise BadRequest(f"missing input {', '.join(map(repr, absent))}")
        if not found:
            raise BadRequest("the request has no inputs")
        rows = self._rows(found)
        if len(found) < len(self.fields):
            return {f.name: found[f.name] if f.name in found else f.missing(rows) for f in self.fields}
        return found

    def lists(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Inputs by name; columns are made here, where nothing about them is odd."""
        if not self.columns:
            return given
        self._sized(given)
        if self.uniform:
            return self._side_by_side(given) or given
        found = self._rows_of.lists(given)
        return given if found is None else _Checked(found)

    def _side_by_side(self, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        columns = [given.get(name) for name in self.names]
        rows = len(columns[0]) if type(columns[0]) is list else 0
        if not rows or any(type(c) is not list or len(c) != rows for c in columns):
            return None
        with contextlib.suppress(BadRequest):
            return self.flat(list(chain.from_iterable(zip(*columns, strict=True))), rows)
        return None

    def _sized(self, raw: Mapping[str, Any]) -> None:
        """Before anything is made of the values. What is one row of a tensor has the wrong shape, not too many rows."""
        for field in self.fields:
            value = raw.get(field.name)
            if isinstance(value, np.ndarray):
                field.fits(value.shape)
                self.count(len(value))
            elif type(value) is list and value and (self.columns or type(value[0]) is list):
                self.count(len(value))

    def _rows(self, found: Arrays) -> int:
        counts = {name: len(value) for name, value in found.items()}
        rows = next(iter(counts.values()))
        for name, count in counts.items():
            if count != rows:
                raise BadRequest(f"input {name!r} has {count} rows, others have {rows}")
        if not rows:
            raise BadRequest(f"the request has 0 rows; 1 to {self.max_rows} are answered")
        self.count(rows)
        return rows

    def count(self, rows: int) -> None:
        """Before anything is made of them."""
        if rows > self.max_rows:
            raise BadRequest(f"the request has {rows} rows; 1 to {self.max_rows} are answered", 413)

    def _json(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if sum(form in body for form in _FORMS) > 1:
            raise BadRequest(f"{_BODY_FORMS}, and has several", 400)
        if "inputs" in body:
            given = body["inputs"]
            return self.lists(given) if isinstance(given, dict) else self._one(given, "a bare list")
        for key in ("rows", "dataframe_records"):
            if key in body:
                return self._records(body[key])
        if "dataframe_split" in body:
            return self._split(body["dataframe_split"])
        raise BadRequest(_BODY_FORMS, 400)

    def _one(self, value: Any, how: str) -> Mapping[str, Any]:
        """The only tensor, or a matrix whose columns are in the signature's order."""
        if len(self.fields) == 1 and not self.columns:
            return {self.fields[0].name: value}
        if not self.columns:
            sentence = f"{how} carries one tensor; this model wants {', '.join(map(repr, self.names))}"
            raise BadRequest(sentence, 415 if how == "npy" else 422)
        if isinstance(value, np.ndarray):
            return self.matrix(value)
        return self._split({"columns": list(self.names), "data": value})

    def flat(self, values: list[Any], rows: int) -> Mapping[str, Any]:
        """Columns of one type from their values row by row. Capture keeps them as the one matrix that they are."""
        whole = Field("rows", self.fields[0].dtype, (-1, len(self.fields)), column=False).made(values)
        whole.resize((rows, len(self.fields)), refcheck=False)  # unlike `reshape`, in place
        return _Checked(zip(self.names, whole.T, strict=True))

    def matrix(self, value: Array) -> Mapping[str, Any]:
        """Columns in the signature's order."""
        whole = Field("rows", self.fields[0].dtype, (-1, len(self.fields)), column=False)
        whole.fits(value.shape)
        self.count(len(value))
        if self.uniform and len(value):
            with contextlib.suppress(BadRequest):
                return _Checked(zip(self.names, whole.array(value).T, strict=True))
        return dict(zip(self.names, value.T, strict=True))

    def _records(self, rows: Any) -> Mapping[str, Any]:
        if not isinstance(rows, list) or not all(type(row) is dict for row in rows):
            raise BadRequest("rows must be a list of objects, one for each row")
        self.count(len(rows))
        if self.uniform and rows:
            with contextlib.suppress(BadRequest, KeyError):  # column by column, the sentence names the column
                return self.flat(list(chain.from_iterable(map(self._pick, rows))), len(rows))
        elif self.columns and rows and (found := self._rows_of.records(rows)) is not None:
            return _Checked(found)
        if absent := next((f.name for f in self.fields if f.required and any(f.name not in r for r in rows)), None):
            raise BadRequest(f"a row has no {absent!r}")
        sent = set().union(*rows)
        there = [f.name for f in self.fields if f.required or f.name in sent]
        return {name: [row.get(name) for row in rows] for name in there}

    def _split(self, table: Any) -> Mapping[str, Any]:
        if not isinstance(table, dict) or not isinstance(table.get("columns"), list):
            raise BadRequest('dataframe_split needs "columns" and "data"')
        columns, data = table["columns"], table.get("data")
        if not all(type(name) is str for name in columns) or len(set(columns)) < len(columns):
            raise BadRequest('dataframe_split needs "columns" that are names, each of them once')
        if not isinstance(data, list) or not all(type(row) is list and len(row) == len(columns) for row in data):
            raise BadRequest(f"the data must be a list of rows with {len(columns)} values each")
        self.count(len(data))
        if self.uniform and data and tuple(columns) == self.names:
            with contextlib.suppress(BadRequest):
                return self.flat(list(chain.from_iterable(data)), len(data))
        if len(data) == 1 and self.columns and (found := self._rows_of.one(dict(zip(columns, data[0], strict=True)))):
            return _Checked(found)
        places = {name: i for i, name in enumerate(columns)}
        return self.lists({n: [row[places[n]] for row in data] for n in self.names if n in places})

    @cached_property
    def uniform(self) -> bool:
        """Required columns of one numeric type: one matrix and one check, ten times faster than column by column."""
        first = self.fields[0]
        return (
            len(self.fields) > 1
            and all(f.column and f.required and f.dtype == first.dtype for f in self.fields)
            and np.dtype(first.dtype).kind in "fiub"
        )

    @cached_property
    def _rows_of(self) -> Rows:
        return Rows(self.fields)

    @cached_property
    def _pick(self) -> operator.itemgetter[Any]:
        return operator.itemgetter(*self.names)

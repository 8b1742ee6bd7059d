"""One input of the signature: how a value that a client sent becomes an array of the right kind, or a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .refusals import BadRequest

Array = np.ndarray[Any, Any]

COLUMN_DTYPES = {
    "double": "float64",
    "float": "float32",
    "integer": "int32",
    "long": "int64",
    "boolean": "bool",
    "string": "object",
    "datetime": "datetime64[ns]",
}
_SERVED_KINDS = "fiubOM"


@dataclass(frozen=True, slots=True)
class Field:
    """`shape` starts with -1, the row; further free dimensions are -1 too. A column's shape is `(-1,)`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    column: bool
    required: bool = True

    def array(self, value: Any) -> Array:
        """`value` as an array of this dtype and shape; raises `BadRequest` when that would change any value."""
        kind = np.dtype(self.dtype).kind
        if kind == "O":
            found = self._text(value)
        elif kind == "M":
            found = self._time(value)
        else:
            found = self._number(value)
        self._fits(found)
        return found

    def missing(self, rows: int) -> Array:
        """Stands in for an optional column that the request leaves out."""
        if np.dtype(self.dtype).kind == "f":
            return np.full(rows, np.nan, self.dtype)
        if self.dtype == "object":
            return np.full(rows, None, object)
        raise BadRequest(f"column {self.name!r} is missing, and {self.dtype} has no value that stands for nothing")

    def _fits(self, found: Array) -> None:
        wrong = found.ndim != len(self.shape)
        if wrong or any(w not in (-1, s) for w, s in zip(self.shape[1:], found.shape[1:], strict=True)):
            wanted = ", ".join("n" if d < 0 else str(d) for d in self.shape)
            raise BadRequest(f"input {self.name!r} has shape {list(found.shape)} where [{wanted}] is wanted")

    def _number(self, value: Any) -> Array:
        raw = self._raw(value)
        want = np.dtype(self.dtype)
        if raw.dtype.kind == "O" and self._may_be_null():
            raw = self._nulls_as_nan(raw)
        if raw.dtype.kind not in ("b" if want.kind == "b" else "iuf") and raw.size:
            raise BadRequest(f"input {self.name!r} wants {self.dtype} and holds {_what(raw)}")
        found = raw if raw.dtype == want else _cast(self.name, raw, want)
        if want.kind == "f" and not self._may_be_null() and not np.isfinite(found).all():
            raise BadRequest(f"input {self.name!r} holds a value that is not a finite {self.dtype}")
        return found

    def _may_be_null(self) -> bool:
        return self.column and not self.required and np.dtype(self.dtype).kind == "f"

    def _nulls_as_nan(self, raw: Array) -> Array:
        if raw.ndim == 1 and all(v is None or type(v) in (int, float) for v in raw.tolist()):
            return np.array([np.nan if v is None else v for v in raw.tolist()], "float64")
        return raw

    def _text(self, value: Any) -> Array:
        raw = np.asarray(value, dtype=object) if not isinstance(value, np.ndarray) else value.astype(object)
        for item in raw.flat:
            if type(item) is not str and not (item is None and not self.required):
                raise BadRequest(f"input {self.name!r} wants strings and holds {_name_of(item)}")
        return raw

    def _time(self, value: Any) -> Array:
        raw = self._raw(value)
        if raw.dtype.kind not in "UM" and raw.size:
            raise BadRequest(f"input {self.name!r} wants times like '2026-01-31T12:00:00' and holds {_what(raw)}")
        try:
            found = raw.astype("datetime64[ns]")
        except ValueError as bad:
            raise BadRequest(f"input {self.name!r} holds no time: {bad}") from None
        if np.isnat(found).any():
            raise BadRequest(f"input {self.name!r} holds a time that is none (NaT)")
        return found

    def _raw(self, value: Any) -> Array:
        try:
            return np.asarray(value)
        except ValueError:
            raise BadRequest(f"input {self.name!r} is ragged: its rows differ in length") from None


def _cast(name: str, raw: Array, want: np.dtype[Any]) -> Array:
    """Only what keeps each value: a float becomes an integer when it is one, a large integer never wraps around."""
    if want.kind in "iu" and raw.size and not np.can_cast(raw.dtype, want):
        whole = raw.dtype.kind in "iu" or bool(np.isfinite(raw).all() and (raw == np.trunc(raw)).all())
        limits = np.iinfo(want)
        if not whole or raw.min() < limits.min or raw.max() > limits.max:
            raise BadRequest(f"input {name!r} holds a value that is no {want.name}")
    with np.errstate(over="ignore"):
        return raw.astype(want)


def _what(raw: Array) -> str:
    if raw.dtype.kind == "O":
        odd = next((v for v in raw.flat if type(v) not in (int, float)), None)
        return _name_of(odd)
    names = {"U": "a string", "S": "bytes", "b": "true or false", "c": "complex numbers"}
    return names.get(raw.dtype.kind, str(raw.dtype))


def _name_of(item: Any) -> str:
    if item is None:
        return "null"
    return {str: "a string", dict: "an object", list: "a list", bool: "true or false"}.get(
        type(item), f"a value like {item!r}"
    )


def from_signature(items: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> tuple[Field, ...]:
    """Fields from MLflow's `ModelSignature.to_dict()["inputs"]`, parsed; `names` stand in for those without one.

    Raises ValueError with a sentence where a served API cannot be derived.
    """
    if not items:
        raise ValueError("the signature has no inputs; log the model again with a signature")
    return tuple(
        _field(item, item.get("name") or (names[i] if i < len(names) else f"input_{i}")) for i, item in enumerate(items)
    )


def _field(item: Mapping[str, Any], name: str) -> Field:
    if item["type"] != "tensor":
        if item["type"] not in COLUMN_DTYPES:
            raise ValueError(f"column {name!r} is of type {item['type']!r}, which is not served")
        return Field(name, COLUMN_DTYPES[item["type"]], (-1,), column=True, required=item.get("required", True))
    spec = item["tensor-spec"]
    shape = tuple(int(d) for d in spec["shape"])
    dtype = "object" if spec["dtype"] in ("str", "object") else np.dtype(spec["dtype"]).name
    if np.dtype(dtype).kind not in _SERVED_KINDS:
        raise ValueError(f"input {name!r} is of type {dtype}, which is not served")
    if not shape or shape[0] != -1:
        raise ValueError(
            f"the signature fixes the first dimension of input {name!r} (shape {list(shape)}); "
            "log the model with -1 there, so that requests may have any number of rows"
        )
    return Field(name, dtype, shape, column=False)

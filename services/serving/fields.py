"""One input of the signature: how a value that a client sent becomes an array of the right kind, or a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import lists
from .refusals import BadRequest

Array = lists.Array

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

    def flat(self, values: list[Any], rows: int) -> Array:
        """Values that are known to be as many as so many rows have."""
        return self.made(values).reshape(rows, *self.shape[1:])

    def made(self, values: list[Any]) -> Array:
        """One after the other, whatever the shape is."""
        return self._finite(self._listed(values))

    def array(self, value: Any) -> Array:
        """`value`, lists or an array, in this dtype and shape; raises `BadRequest` for what is no value of it.

        A number becomes the nearest float: 2**53 + 1 as a double is rounded, as 0.1 is. Integers stay what they are.
        """
        if not isinstance(value, np.ndarray):
            values, shape = lists.flat(self.name, value, self.shape)
            return self.made(values).reshape(shape)
        self.fits(value.shape)
        return self._finite(self._array(value))

    def fits(self, shape: tuple[int, ...]) -> None:
        """Raises `BadRequest` where values of this shape are not wanted."""
        if len(shape) != len(self.shape) or any(
            w not in (-1, s) for w, s in zip(self.shape[1:], shape[1:], strict=True)
        ):
            raise BadRequest(lists.misfit(self.name, shape, self.shape))

    def missing(self, rows: int) -> Array:
        """Stands in for an optional column that the request leaves out."""
        nothing = self.nothing
        if nothing is None:
            raise BadRequest(f"column {self.name!r} is missing, and {self.dtype} has no value that stands for nothing")
        return np.full(rows, *nothing, self.dtype)

    @property
    def nothing(self) -> tuple[Any] | None:
        """What null becomes; None where null has to be refused."""
        if self.required or not self.column:
            return None
        return {"f": (np.nan,), "O": (None,), "M": (np.datetime64("NaT"),)}.get(np.dtype(self.dtype).kind)

    def _listed(self, values: list[Any]) -> Array:
        want, nulls = np.dtype(self.dtype), self.nothing is not None
        if want.kind == "O":
            return lists.texts(self.name, values, nulls=nulls)
        if want.kind == "M":
            return lists.times(self.name, values, nulls=nulls)
        return lists.numbers(self.name, values, want, nulls=nulls)

    def _array(self, raw: Array) -> Array:
        """Of a binary body; texts and what has nulls are looked at one by one."""
        want = np.dtype(self.dtype)
        if raw.dtype == want and want.kind != "O":
            return raw
        if raw.dtype.kind in "OU":
            return self._listed(_objects(self.name, raw)).reshape(raw.shape)
        if raw.dtype.kind not in {"b": "b", "M": "M", "O": ""}.get(want.kind, "iuf"):
            wants = {"O": "strings", "M": "times"}.get(want.kind, want.name)
            raise BadRequest(f"input {self.name!r} wants {wants} and holds {_what(raw.dtype)}")
        return _cast(self.name, raw, want)

    def _finite(self, found: Array) -> Array:
        if found.dtype.kind == "f" and (np.isinf(found).any() if self.nothing else not np.isfinite(found).all()):
            raise BadRequest(f"input {self.name!r} holds a value that is not a finite {self.dtype}")
        if found.dtype.kind == "M" and not self.nothing and np.isnat(found).any():
            raise BadRequest(f"input {self.name!r} holds a time that is none (NaT)")
        return found


def _objects(name: str, raw: Array) -> list[Any]:
    """Texts that can be written again: numpy's may hold what is no character."""
    try:
        values: list[Any] = raw.ravel().tolist()
        if raw.dtype.kind == "U":
            "".join(values).encode()
    except (ValueError, SystemError) as bad:  # a UnicodeError is a ValueError
        raise BadRequest(f"input {name!r} holds a text that is none: {str(bad)[:80]}") from None
    return values


def _cast(name: str, raw: Array, want: np.dtype[Any]) -> Array:
    """Only what keeps each value: a float becomes an integer when it is one, and nothing wraps around."""
    kept = True
    if want.kind in "iu" and raw.size and not np.can_cast(raw.dtype, want):
        limits = np.iinfo(want)
        if raw.dtype.kind == "f":  # beyond 2**53 a float need not be the integer that somebody meant
            exact = np.float64(lists.EXACT)  # a float16 of it would be infinity
            kept = bool(np.isfinite(raw).all() and (np.abs(raw) <= exact).all() and (raw == np.trunc(raw)).all())
        kept = kept and int(raw.min()) >= limits.min and int(raw.max()) <= limits.max
    if kept:
        with np.errstate(over="ignore"):
            found = raw.astype(want)
        kept = want.kind != "M" or bool(((found.astype(raw.dtype) == raw) | np.isnat(raw)).all())
    if not kept:
        raise BadRequest(f"input {name!r} holds a value that is no {want.name}")
    return found


def _what(dtype: np.dtype[Any]) -> str:
    names = {"U": "strings", "S": "bytes", "b": "true or false", "c": "complex numbers", "V": "records"}
    return names.get(dtype.kind, dtype.name)


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

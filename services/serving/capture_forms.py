"""Values of requests as Arrow columns. Columns of numbers are not copied."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from . import capture_arrow as arrow
from .fields import Array, Field

TEXT = "text"


@dataclass(frozen=True, slots=True)
class Form:
    """`dtype`: numpy's name, or `text`. `shape`: of one row; a free dimension is -1, and None says nothing is fixed.

    Tensors are lists, also where every row has the same number of values: Arrow cannot read a Parquet column of
    fixed-size lists in which one is null, and a failed request has no values.
    """

    dtype: str
    shape: tuple[int, ...] | None

    def type(self) -> Any:
        import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

        value = pa.string() if self.dtype == TEXT else pa.from_numpy_dtype(np.dtype(self.dtype))
        return value if self.shape == () else pa.list_(value)

    def metadata(self) -> dict[str, str]:
        return {"shape": json.dumps(self.shape)} if self.shape else {}


def of_field(field: Field) -> Form:
    return Form(_name(np.dtype(field.dtype)), field.shape[1:])


def together(parts: list[Array]) -> list[Array]:
    """As one array where their shapes allow it, which is nearly always: one is handled once, not once per request."""
    try:
        return [np.concatenate(parts)]
    except (ValueError, TypeError):
        return parts


def of_parts(parts: Sequence[Array]) -> Form:
    """The form that all of these fit."""
    found = Form(_name(parts[0].dtype), parts[0].shape[1:])
    for part in parts[1:]:
        found = merged(found, Form(_name(part.dtype), part.shape[1:]))
    return found


def merged(one: Form, other: Form) -> Form:
    """What holds both. It only ever gets wider: a model that answers now this way, now that, changes it few times."""
    if one == other:
        return one
    dtype = one.dtype
    if dtype != other.dtype:
        dtype = TEXT if TEXT in (dtype, other.dtype) else np.promote_types(dtype, other.dtype).name
    return Form(dtype, one.shape if one.shape == other.shape else None)


def column(parts: Sequence[Array], form: Form) -> Any:
    """Rows of all parts, one after another, as an Arrow array of the form's type."""
    flat = _flat(parts, form)
    if form.shape == ():
        return flat
    return arrow.lists(np.repeat([math.prod(part.shape[1:]) for part in parts], [len(part) for part in parts]), flat)


def _flat(parts: Sequence[Array], form: Form) -> Any:
    whole = [part.reshape(-1) for part in parts]
    values = whole[0] if len(whole) == 1 else np.concatenate(whole)
    if form.dtype == TEXT:
        return arrow.text(values.astype(object).tolist())
    return arrow.numbers(values.astype(form.dtype, copy=False))


def hashed(parts: Sequence[Array], key: bytes) -> Any:
    """One hash per row: of a text's UTF-8, or of the row's bytes in the signature's type."""
    return arrow.text([found and found.decode() for part in parts for found in _digests(part, key)])


def _digests(part: Array, key: bytes) -> Iterable[bytes | None]:
    if part.ndim == 1 and part.dtype.kind == "O":
        return [None if item is None else digest(_utf8(item), key) for item in part]
    if part.dtype.kind == "O":
        return [digest(orjson.dumps(row.tolist()), key) for row in part]
    return [digest(row.tobytes(), key) for row in np.ascontiguousarray(part)]


def digest(value: bytes, key: bytes) -> bytes:
    """16 hexadecimal digits. Without the key nobody can try out which value has them."""
    return hashlib.blake2b(value, key=key, digest_size=8).hexdigest().encode()


def _utf8(item: Any) -> bytes:
    return str(item).encode("utf-8", "surrogatepass")


def _name(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "OUS":
        return TEXT
    return "datetime64[ns]" if dtype.kind == "M" else dtype.name

"""One column, however it came (numpy, Arrow, pandas, torch, a list), as one of a few forms.

Numbers are kept as 32-bit floats: a reference of doubles and live requests of floats then hold the same values, and
what was one value many times (0.1, 19.99) still is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Literal

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

Array = NDArray[Any]
Form = Literal["number", "label", "vector", "ragged", "time", "nothing", "odd"]

TRUTHS = ("false", "true")
_LONG = 4096
"""Characters of a text that are looked at; of the others there is a digest, in place of the last of these."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """`missing`: (rows,) of truth values. `values` depend on the form.

    number: (rows,) float32, NaN where missing. label: (rows,) the place in `labels`, -1 where missing. vector:
    (rows, d) float32, NaN where missing. ragged: a flat vector for each row that is there. Others: nothing.
    """

    form: Form
    missing: Array
    values: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    labels: tuple[str, ...] = ()
    vectors: tuple[Array, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.missing)

    def take(self, rows: Array) -> Column:
        """Some rows, by ascending number."""
        missing = self.missing[rows]
        if self.form == "ragged":
            places = np.cumsum(~self.missing) - 1
            return Column("ragged", missing, vectors=tuple(self.vectors[i] for i in places[rows][~missing].tolist()))
        return Column(self.form, missing, self.values[rows] if len(self.values) else self.values, self.labels)

    def element(self, i: int) -> Column:
        """One element of vectors, as a column of numbers."""
        return number(self.values[:, i])


def column(values: Any) -> Column:
    """Never raises: what is no column of values that are known here has the form `odd`."""
    try:
        with np.errstate(all="ignore"):
            return _column(values)
    except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError, RuntimeError):
        return Column("odd", np.zeros(_length(values), bool))


def number(values: Array) -> Column:
    with np.errstate(all="ignore"):
        plain = np.ascontiguousarray(values, np.float32)
    return Column("number", np.isnan(plain), plain)


def as_number(found: Column) -> Column | None:
    """Labels as numbers, what is none is missing; None where that is half of the rows that have one, or more."""
    if found.form in ("number", "nothing"):
        return number(np.full(found.rows, np.nan)) if found.form == "nothing" else found
    if found.form != "label":
        return None
    known = [_number(label) for label in found.labels]
    odd = np.array([*(of is None for of in known), False])[found.values]
    if odd.any() and 2 * odd.sum() >= (~found.missing).sum():
        return None
    return number(np.array([*(np.nan if of is None else of for of in known), np.nan])[found.values])


def _number(label: str) -> float | None:
    try:
        return float(TRUTHS.index(label)) if label in TRUTHS else float(label)
    except ValueError:
        return None


def as_label(found: Column) -> Column | None:
    """Numbers as text: a whole one without a point, however it came. None for what has no labels."""
    if found.form == "nothing":
        return Column("label", found.missing, np.full(found.rows, -1))
    if found.form != "number":
        return found if found.form == "label" else None
    distinct, places = np.unique(found.values[~found.missing], return_inverse=True)
    codes = np.full(found.rows, -1)
    codes[~found.missing] = places
    return Column("label", found.missing, codes, tuple(text(value) for value in distinct))


def text(value: Any) -> str:
    """A label as it reads the same where 1 came as 1.0."""
    if isinstance(value, bool | np.bool_):
        return TRUTHS[bool(value)]
    if isinstance(value, float | np.floating) and np.isfinite(value) and float(value).is_integer():
        value = int(value)
    return cut(str(value).encode("utf-8", "replace").decode(), _LONG)


def cut(label: str, most: int) -> str:
    """At most so many characters, and another text for every label, however long."""
    return label if len(label) <= most else f"{label[: most - 17]}~{digest(label, 8)}"


def digest(label: str, size: int) -> str:
    """`size`: bytes, each of them two characters."""
    return hashlib.blake2b(label.encode("utf-8", "replace"), digest_size=size).hexdigest()


def _length(values: Any) -> int:
    return len(values) if hasattr(values, "__len__") else 0


def _column(values: Any) -> Column:
    if isinstance(values, pa.ChunkedArray):
        return _of_arrow(values.combine_chunks())
    if isinstance(values, pa.Array):
        return _of_arrow(values)
    if type(values).__module__.partition(".")[0] == "pandas":
        return _of_objects(values, lambda: pa.array(values, from_pandas=True))
    if isinstance(values, list | tuple):
        return _of_objects(values, lambda: pa.array(values, from_pandas=True))
    array = np.asarray(values)
    if array.dtype.kind in "cV":
        return Column("odd", np.zeros(len(array), bool))
    if array.ndim > 1:
        return _vectors(array.reshape(len(array), -1), np.zeros(len(array), bool))
    if array.dtype.kind in "iuf":
        return number(array)
    if array.dtype.kind == "b":
        return _truths(array, np.zeros(len(array), bool))
    if array.dtype.kind in "mM":
        return Column("time", np.isnat(array))
    listed = array.tolist()
    return _of_objects(listed, lambda: pa.array(listed, from_pandas=True))


def _of_objects(values: Iterable[Any], as_arrow: Callable[[], Any]) -> Column:
    try:
        found = as_arrow()
    except (pa.ArrowException, ValueError, TypeError, OverflowError):  # of several types: as text, then
        listed = [None if _absent(value) else text(value) for value in values]
        found = pa.array(listed, pa.string())
    return _of_arrow(found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found)


def _absent(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and isnan(value))


def _of_arrow(array: Any) -> Column:
    kind = array.type
    missing = np.asarray(array.is_null().to_numpy(zero_copy_only=False))
    if isinstance(array, pa.ExtensionArray):
        return _of_arrow(array.storage)
    if pa.types.is_null(kind):
        return Column("nothing", missing)
    if pa.types.is_boolean(kind):
        return _truths(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False), missing)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return number(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    if pa.types.is_dictionary(kind):
        return _labels(array.indices, [None if v is None else text(v) for v in array.dictionary.to_pylist()])
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        coded = array.dictionary_encode()
        return _labels(coded.indices, [cut(v, _LONG) for v in coded.dictionary.to_pylist()])
    if pa.types.is_temporal(kind):
        return Column("time", missing)
    return _lists(array, missing) if _is_list(kind) else Column("odd", missing)


def _truths(values: Array, missing: Array) -> Column:
    return Column("label", missing, np.where(missing, -1, values.astype(np.int64)), TRUTHS)


def _labels(indices: Any, words: Sequence[str | None]) -> Column:
    """A dictionary may hold a word twice, and nothing."""
    known = {word: i for i, word in enumerate(dict.fromkeys(word for word in words if word is not None))}
    places = np.array([*(-1 if word is None else known[word] for word in words), -1])
    codes = places[np.asarray(indices.fill_null(len(words)).to_numpy(zero_copy_only=False)).astype(np.int64)]
    return Column("label", codes < 0, codes, tuple(known))


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _lists(array: Any, missing: Array) -> Column:
    """Lists of numbers, nested as deep as they like: each row is one flat vector."""
    flat, ends = array.drop_null(), np.arange(len(array) - missing.sum() + 1)
    while _is_list(flat.type):
        sizes = pc.list_value_length(flat).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.concatenate([[0], np.cumsum(sizes)])[ends]
        flat = flat.flatten()
    if pa.types.is_null(flat.type):
        return Column("nothing", np.ones(len(missing), bool))
    if not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type) or pa.types.is_boolean(flat.type)):
        return Column("odd", missing)
    plain = flat.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    sizes = np.diff(ends)
    if len(sizes) and (sizes == sizes[0]).all():
        return _vectors(plain.reshape(len(sizes), sizes[0]), missing)
    return Column("ragged", missing, vectors=tuple(np.split(plain, ends[1:-1]) if len(sizes) else ()))


def _vectors(values: Array, missing: Array) -> Column:
    """`values`: of the rows that are there."""
    if values.dtype.kind not in "biuf":
        return Column("odd", missing)
    if not values.size:
        return Column("nothing", np.ones(len(missing), bool))
    if len(values) == len(missing):
        return Column("vector", missing, values.astype(np.float32, copy=False))
    whole = np.full((len(missing), values.shape[1]), np.nan, np.float32)
    whole[~missing] = values
    return Column("vector", missing, whole)

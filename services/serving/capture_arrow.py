"""Arrow arrays straight from buffers. `pyarrow.array` would import pandas: 0.2 s and 40 MB in a replica without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from .capture_page import LARGEST
from .fields import Array


def numbers(values: Array) -> Any:
    """Of a flat array of numbers, truth values or times; numbers are not copied."""
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

    kind = pa.from_numpy_dtype(values.dtype)
    flat = np.packbits(values, bitorder="little") if values.dtype.kind == "b" else np.ascontiguousarray(values)
    if values.dtype.kind in "mM":
        flat = flat.view("int64")  # which has a buffer of bytes; times have none
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(flat)])


def micros(seconds: Array) -> Any:
    """Unix seconds as times in UTC."""
    import pyarrow as pa

    whole = np.rint(seconds * 1e6).astype("int64")
    return pa.Array.from_buffers(pa.timestamp("us", "UTC"), len(whole), [None, pa.py_buffer(whole)])


def text(values: list[Any]) -> Any:
    """Strings; what is none is written as JSON. Those that are too large are null."""
    import pyarrow as pa

    try:
        joined = "".join(values)
    except TypeError:  # nothing, or what is no string
        return _uneven(values)
    if not joined.isascii() or len(joined) > LARGEST:
        return _uneven(values)
    ends = _ends([len(value) for value in values])
    return pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(joined.encode())])


def words(places: Array, of: list[str]) -> Any:
    """A dictionary column: `places` (rows,) int32 into `of`."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(numbers(places), text(of))


def lists(widths: Array, flat: Any) -> Any:
    """Rows of so many values each."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(numbers(_ends(widths)), flat)


def _ends(sizes: Any) -> Array:
    found = np.zeros(len(sizes) + 1, "int32")
    np.cumsum(sizes, out=found[1:])
    return found


def _uneven(values: list[Any]) -> Any:
    import pyarrow as pa

    encoded = [_utf8(value) for value in values]
    there = np.array([value is not None and len(value) <= LARGEST for value in encoded], bool)
    kept = [value if keep and value else b"" for value, keep in zip(encoded, there.tolist(), strict=True)]
    valid = np.packbits(there, bitorder="little")
    buffers = [pa.py_buffer(valid), pa.py_buffer(_ends([len(value) for value in kept])), pa.py_buffer(b"".join(kept))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _utf8(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return orjson.dumps(value, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)

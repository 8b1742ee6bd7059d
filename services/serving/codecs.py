"""Bytes of a request to raw values, and arrays to bytes of an answer. JSON, npy and Arrow streams."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from .fields import Array, Field
from .refusals import BadRequest

JSON_TYPES = ("", "application/json", "text/json")
NPY_TYPES = ("application/x-npy", "application/x-numpy")
ARROW_TYPES = ("application/vnd.apache.arrow.stream", "application/x-arrow")
_MAGIC = b"\x93NUMPY\x01"


def json_object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as bad:
        raise BadRequest(f"the body is no JSON: {bad}", 400) from None
    if not isinstance(found, dict):
        raise BadRequest("the body must be a JSON object", 400)
    return found


def npy(body: bytes) -> Array:
    """Without a copy where the header allows it; the array is then read only."""
    try:
        if body[:7] == _MAGIC:
            start = int.from_bytes(body[8:10], "little") + 10
            dtype, shape, plain = _npy_header(body[:start])
            if plain:
                return np.frombuffer(body, dtype, offset=start).reshape(shape)
        found: Array = np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    except Exception as bad:  # noqa: BLE001 - numpy raises many kinds on a damaged file
        raise BadRequest(f"the body is no npy file: {bad}", 400) from None
    return found


@functools.lru_cache(256)
def _npy_header(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Remembered, for numpy takes about 100 us to parse it and clients send the same one again and again."""
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(head[8:]))
    return dtype, shape, not fortran and not dtype.hasobject


def arrow(body: bytes, fields: Sequence[Field]) -> dict[str, Any]:
    """Columns of an Arrow stream by name; a fixed-size list becomes a tensor."""
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            table = stream.read_all()
    except (pa.ArrowInvalid, OSError) as bad:
        raise BadRequest(f"the body is no Arrow stream: {bad}", 400) from None
    found = {}
    for field in fields:
        if field.name in table.column_names:
            column = table.column(field.name).combine_chunks()
            found[field.name] = _arrow_array(column, field, pa)
    return found


def _arrow_array(column: Any, field: Field, pa: Any) -> Any:
    if column.null_count:
        return column.to_pylist()
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy(zero_copy_only=False)
    try:
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), *field.shape[1:])
    except ValueError:
        raise BadRequest(
            f"input {field.name!r} has rows of {column.type.list_size} values where {list(field.shape[1:])} is wanted"
        ) from None


def to_json(about: Mapping[str, str], outputs: Mapping[str, Array]) -> bytes:
    """`{"model": ..., "version": ..., "outputs": {name: rows}}`."""
    return orjson.dumps(
        {**about, "outputs": {name: _plain(value) for name, value in outputs.items()}},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _plain(value: Array) -> Any:
    """What orjson writes by itself: contiguous numbers; strings and objects go as lists."""
    return value.tolist() if value.dtype.kind in "OUS" else np.ascontiguousarray(value)


def to_npy(value: Array) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(value), allow_pickle=False)
    return out.getvalue()

"""Columns of an Arrow stream. What it says of itself is not believed: pyarrow reads wherever a wrong offset points."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from .fields import Array, Field
from .lists import held
from .refusals import BadRequest

TYPES = ("application/vnd.apache.arrow.stream", "application/x-arrow")
_LONGEST = 200
_COMPRESSION = 3
"""Slot of a record batch's table in Arrow's flatbuffers; a message's header is in slot 2, a dictionary's batch in 1."""
_ROOM = 16 * 2**20
"""Bytes that any stream may say, however short it is: a word of a dictionary, or a buffer, may be there many times."""
_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""Arrow's names of them; of integers they are numpy's."""


_is_here = False


def told(content_type: str) -> bool:
    """Whether the body should be an Arrow stream."""
    return "arrow" in (kind := content_type.lower()) and kind.partition(";")[0].strip() in TYPES


async def here() -> None:
    """Import pyarrow, beside the event loop: the quarter of a second is only the first Arrow request's."""
    global _is_here  # noqa: PLW0603 - `sys.modules` has it also while it is half imported
    if not _is_here:
        await asyncio.to_thread(import_module, "pyarrow.compute")
        _is_here = True


def columns(body: bytes, fields: Sequence[Field], most: int) -> dict[str, Any]:
    """Values by name; a fixed-size list becomes a tensor. Raises `BadRequest`."""
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

    try:
        table = _table(pa.py_buffer(body), fields, most)
        found = {name: table.column(name).combine_chunks() for name in table.column_names}
        _bounded(sum(map(_repeated, found.values())), len(body))
        return {name: _values(column, name, len(body)) for name, column in found.items()}
    except BadRequest:
        raise
    except Exception as bad:  # noqa: BLE001 - pyarrow raises many kinds on a damaged stream
        raise BadRequest(f"the body is no Arrow stream: {str(bad)[:_LONGEST]}", 400) from None


def _table(buffer: Any, fields: Sequence[Field], most: int) -> Any:
    import pyarrow as pa

    for message in pa.ipc.MessageReader.open_stream(buffer):
        if message.type in ("record batch", "dictionary") and _compressed(message):
            raise BadRequest("the Arrow stream is compressed; send it without compression", 415)
    with pa.ipc.open_stream(buffer) as stream:
        schema = stream.schema
    for field in fields:
        if len(schema.get_all_field_indices(field.name)) > 1:
            raise BadRequest(f"the Arrow stream has several columns {field.name!r}")
    known = {field.name for field in fields}
    wanted = [i for i, name in enumerate(schema.names) if name in known]
    for field in map(schema.field, wanted):
        if not _plain(field.type, pa.types):
            raise BadRequest(
                f"input {field.name!r} is of Arrow type {str(field.type)[:_LONGEST]}, which is not read; "
                "send numbers, booleans, strings, timestamps or lists of them"
            )
    if not wanted:
        return pa.table({})
    with pa.ipc.open_stream(buffer, options=pa.ipc.IpcReadOptions(included_fields=wanted)) as stream:
        return pa.Table.from_batches(_batches(stream, most, buffer.size), stream.schema)


def _batches(stream: Any, most: int, size: int) -> list[Any]:
    """Counted before anything is made of them: a batch of nulls says any number of rows and holds no byte.

    Each holds its dictionaries whole, and they are looked through with it.
    """
    found: list[Any] = []
    rows = told = 0
    for batch in stream:
        rows += batch.num_rows
        if rows > most:
            raise BadRequest(f"the request has {rows} rows or more; 1 to {most} are answered", 413)
        if len(found) == most:
            raise BadRequest(f"the Arrow stream has more than {most} batches; send its rows in one", 413)
        told += sum(column.get_total_buffer_size() for column in batch.columns)  # `nbytes` would believe the offsets
        _bounded(told, size)
        batch.validate(full=True)
        found.append(batch)
    return found


def _bounded(told: int, size: int) -> None:
    if told > (most := max(_ROOM, size)):
        raise BadRequest(
            f"the Arrow stream repeats itself: its {size} bytes say more than {most}; send fewer rows, in one batch",
            413,
        )


def _compressed(message: Any) -> bool:
    """A few bytes of compressed zeros would be gigabytes once they are read."""
    data = message.metadata.to_pybytes()
    (root,) = struct.unpack_from("<I", data)
    header = _follow(data, _slot(data, root, 2))
    batch = header if message.type == "record batch" else _follow(data, _slot(data, header, 1))
    return bool(_slot(data, batch, _COMPRESSION))


def _slot(data: bytes, table: int, slot: int) -> int:
    """Where the table has this; 0 where it has not."""
    (back,) = struct.unpack_from("<i", data, table)
    (size,) = struct.unpack_from("<H", data, table - back)
    place = 4 + 2 * slot
    (offset,) = struct.unpack_from("<H", data, table - back + place) if place < size else (0,)
    return table + offset if offset else 0


def _follow(data: bytes, place: int) -> int:
    (offset,) = struct.unpack_from("<I", data, place)
    return place + int(offset)


def _plain(kind: Any, types: Any, *, inner: bool = False) -> bool:
    """Types whose values take no more room than in the stream; views, run lengths and nulls in lists may take any."""
    if types.is_dictionary(kind):
        return not inner and not types.is_nested(kind.value_type) and _plain(kind.value_type, types, inner=True)
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _plain(kind.value_type, types, inner=True)
    known = ("floating", "integer", "boolean", "string", "large_string", "timestamp", "date")
    return any(getattr(types, f"is_{name}")(kind) for name in known) or (not inner and bool(types.is_null(kind)))


def _repeated(column: Any) -> int:
    """Bytes of the texts that a dictionary's indices stand for."""
    import pyarrow as pa
    import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

    if not pa.types.is_dictionary(column.type) or not _text(column.type.value_type):
        return 0
    return int(pc.sum(pc.binary_length(column.dictionary).cast(pa.int64()).take(column.indices)).as_py() or 0)


def _text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _values(column: Any, name: str, size: int) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        if _text(column.type.value_type):
            return _words(column)
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        return _tensor(column, name, size)
    if pa.types.is_temporal(column.type):
        return _times(column)
    return column.to_pylist() if column.null_count or _text(column.type) else _array(column)


def _array(column: Any) -> Array:
    """Numbers and booleans. Not by `to_numpy`, which imports pandas: half a second, in which nobody is answered."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        return _array(column.cast(pa.uint8())).view(bool)
    name = str(column.type)
    return _raw(column, np.dtype(_FLOATS.get(name, name)))


def _raw(column: Any, dtype: np.dtype[Any]) -> Array:
    """What the buffer holds, also where a value is null; read only."""
    values = column.buffers()[1]
    if values is None or not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(values, dtype, len(column), column.offset * dtype.itemsize)


def _times(column: Any) -> Array:
    """In their own unit; null is NaT."""
    import pyarrow as pa

    days = pa.types.is_date32(column.type)
    unit = "D" if days else getattr(column.type, "unit", "ms")
    found = _raw(column, np.dtype("int32" if days else "int64")).astype(f"datetime64[{unit}]")
    if column.null_count:
        found[_array(column.is_null())] = np.datetime64("NaT")
    return found


def _words(column: Any) -> list[Any]:
    """The same object for each row with the same word."""
    used = column.indices.drop_null().unique()
    words = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
    return [words.get(i) for i in column.indices.to_pylist()]


def _tensor(column: Any, name: str, size: int) -> Array:
    """Lists of lists; what they are as Python's is never made."""
    import pyarrow as pa

    shape: list[int] = [len(column)]
    while pa.types.is_nested(column.type):
        if column.null_count:
            raise BadRequest(f"input {name!r} holds null where a list is wanted")
        shape.append(_width(column, name))
        column = column.flatten()
    if column.null_count:
        raise BadRequest(f"input {name!r} holds null in a list")
    if not held(shape, size):
        raise BadRequest(f"the body is no Arrow stream: input {name!r} has more values than it has bits", 400)
    return _leaves(column).reshape(shape)


def _leaves(column: Any) -> Array:
    import pyarrow as pa

    if pa.types.is_temporal(column.type):
        return _times(column)
    return np.array(column.to_pylist(), object) if _text(column.type) else _array(column)


def _width(column: Any, name: str) -> int:
    """How long each of the lists is."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = np.unique(np.diff(_array(column.offsets)))
    if len(lengths) > 1:
        raise BadRequest(f"input {name!r} is ragged: its rows differ in length")
    return int(lengths[0]) if len(lengths) else 0

"""Bytes of a request to raw values, and arrays to bytes of an answer: JSON and npy. Arrow has a file of its own."""

from __future__ import annotations

import functools
import gc
import io
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Literal

import numpy as np
import orjson

from .fields import Array
from .lists import held
from .refusals import BadRequest

JSON_TYPES = ("", "application/json", "text/json")
NPY_TYPES = ("application/x-npy", "application/x-numpy")
_HINTS = (
    (b"\x1f\x8b", "it is compressed with gzip; send it as it is"),
    (b"\xef\xbb\xbf", "it begins with a byte order mark; send UTF-8 without one"),
    ((b"\xff\xfe", b"\xfe\xff"), "it is UTF-16 or UTF-32; send UTF-8"),
)
_LONGEST = 200
_MAGIC = b"\x93NUMPY"
_NPY_HEADERS: dict[bytes, Callable[[io.BytesIO], Any]] = {
    b"\x01\x00": np.lib.format.read_array_header_1_0,
    b"\x02\x00": np.lib.format.read_array_header_2_0,
}


def json_object(body: bytes, usual: Callable[[dict[str, Any]], int] | None = None) -> dict[str, Any]:
    """Raises `BadRequest` also where an object names a key twice: which value is meant, nobody can know.

    `usual` counts the names of a request of another form than ours.
    """
    try:
        found = _parsed(body)
    except orjson.JSONDecodeError as bad:
        other = _HINTS[-1][1] if b"\0" in body[:4] else str(bad)
        hint = next((said for start, said in _HINTS if body.startswith(start)), other)
        raise BadRequest(f"the body is no JSON: {hint}", 400) from None
    if not isinstance(found, dict):
        raise BadRequest("the body must be a JSON object", 400)
    if body.count(b":") != (usual or _usual)(found) and _colons(body) != _names(found):
        raise BadRequest("an object in the body names a key twice; name each once", 400)
    return found


def _parsed(body: bytes) -> Any:
    """Without the garbage collector, which would look at all of it again and again. Nobody else runs meanwhile."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        if collects:
            gc.enable()


def _usual(found: dict[str, Any]) -> int:
    """Names in the objects of a request; where no text has a colon and no key is there twice, the body has as many."""
    names = len(found)
    for inner in found.values():
        if type(inner) is dict:
            names += len(inner)
        elif type(inner) is list and inner and type(inner[0]) is dict:
            names += sum(len(row) for row in inner if type(row) is dict)
    return names


def _colons(body: bytes) -> int:
    """Those outside of texts, one for each name. As arrays: a regular expression keeps a mark for each character."""
    if b"\\" in body:  # first the pairs, or the second of one would hide a quote
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    read = np.frombuffer(body, np.uint8)
    inside = np.logical_xor.accumulate(read == ord('"'))
    return int(np.count_nonzero((read == ord(":")) & ~inside))


def _names(found: Any) -> int:
    """Names in all objects, however deep; level by level, for one by one millions of lists would take seconds."""
    names, level = 0, [found]
    while level:
        objects = [item for item in level if type(item) is dict]
        names += sum(map(len, objects))
        lists = (item for item in level if type(item) is list)
        inner = list(chain(chain.from_iterable(map(dict.values, objects)), chain.from_iterable(lists)))
        deeper = not {dict, list}.isdisjoint(map(type, inner))
        level = [item for item in inner if type(item) in (dict, list)] if deeper else []
    return names


def npy(body: bytes) -> Array:
    """Without a copy where that can be; the array is then read only."""
    try:
        start = _npy_start(body)
        dtype, shape, order = _npy_header(body[:start])
        found = np.frombuffer(body, dtype, offset=start).reshape(shape, order=order)
    except Exception as bad:  # noqa: BLE001 - numpy raises many kinds on a damaged file
        raise BadRequest(f"the body is no npy file: {str(bad)[:_LONGEST]}", 400) from None
    if not held(shape, len(body)):
        raise BadRequest(f"the body is no npy file: its shape is {list(shape)}", 400)
    return found if found.flags.aligned else found.copy()


def _npy_start(body: bytes) -> int:
    """Where the values begin."""
    if body[:6] != _MAGIC or body[6:8] not in _NPY_HEADERS:
        raise ValueError("it does not begin like one of version 1 or 2")
    after = 10 if body[6] == 1 else 12
    return after + int.from_bytes(body[8:after], "little")


@functools.lru_cache(256)
def _npy_header(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"]]:
    """Remembered, for numpy takes about 100 us to parse it and clients send the same one again and again."""
    shape, fortran, dtype = _NPY_HEADERS[head[6:8]](io.BytesIO(head[8:]))
    if dtype.hasobject or not dtype.itemsize:  # values without bytes are as many as the header says
        raise ValueError(f"its values are of type {dtype}, which is not read")
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    return dtype, shape, "F" if fortran else "C"


def to_json(about: Mapping[str, str], outputs: Mapping[str, Array]) -> bytes:
    """`{"model": ..., "version": ..., "outputs": {name: rows}}`."""
    return orjson.dumps(
        {**about, "outputs": {name: _plain(value) for name, value in outputs.items()}},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _plain(value: Array) -> Any:
    """What orjson writes by itself: contiguous numbers; strings and objects go as lists."""
    if value.dtype.kind == "M" and np.isnat(value).any():
        return times(value).tolist()
    return value.tolist() if value.dtype.kind in "OUS" else np.ascontiguousarray(value)


def times(value: Array) -> Array:
    """Texts; None for NaT, of which orjson makes a time of the year 1677."""
    texts = orjson.loads(orjson.dumps(np.ascontiguousarray(value).ravel(), option=orjson.OPT_SERIALIZE_NUMPY))
    found = np.array(texts, object).reshape(value.shape)
    found[np.isnat(value)] = None
    return found


def not_npy(outputs: Mapping[str, Array]) -> str:
    """Why npy cannot carry these; empty where it can."""
    if len(outputs) != 1:
        return f"npy carries one output, and this model has {len(outputs)}"
    return "npy cannot carry this model's texts" if next(iter(outputs.values())).dtype.hasobject else ""


def to_npy(value: Array) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(value), allow_pickle=False)
    return out.getvalue()

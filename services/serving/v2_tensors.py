"""Tensors of the Open Inference Protocol (v2): their datatypes, and their bytes in Triton's binary extension."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from . import codecs
from .fields import Array
from .lists import held
from .refusals import BadRequest

DTYPES = {
    "BOOL": np.dtype("bool"),
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "FP16": np.dtype("float16"),
    "BF16": np.dtype("float32"),
    "FP32": np.dtype("float32"),
    "FP64": np.dtype("float64"),
    "BYTES": np.dtype("object"),
}
"""What each is read as. Numpy has no BF16: every one of them is a float32."""
_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}
_KINDS = {"f": "fiu", "i": "fiu", "u": "fiu", "b": "b", "O": "O", "M": "O"}
_WHOLE = {int}
_DIMENSIONS = 32
_LENGTH = struct.Struct("<I")


def datatype(dtype: np.dtype[Any]) -> str:
    """Texts and times are BYTES: a time is its ISO 8601 text."""
    return _NAMES.get(dtype) or _NAMES.get(dtype.newbyteorder("="), "BYTES")


def suits(name: str, wanted: np.dtype[Any]) -> bool:
    """Whether values of this datatype may become `wanted`. Which of them do is seen when they are there."""
    return DTYPES[name].kind in _KINDS[wanted.kind]


def sized(name: str, shape: Any, size: int) -> tuple[int, ...]:
    """The shape that a tensor says it has, which `size` bytes can hold."""
    if type(shape) is list and len(shape) > _DIMENSIONS:
        raise BadRequest(f"{name!r} has {len(shape)} dimensions; up to {_DIMENSIONS} are read", 400)
    if type(shape) is not list or (shape and (set(map(type, shape)) != _WHOLE or min(shape) < 0)):
        raise BadRequest(f"the shape of {name!r} must be a list of whole numbers", 400)
    if not held(shape, size):
        raise BadRequest(f"{name!r} has the shape {shape!r:.80}, and the body is shorter than that", 400)
    return tuple(shape)


def from_bytes(name: str, kind: str, shape: tuple[int, ...], raw: memoryview) -> Array:
    """Read only. Raises `BadRequest` where the bytes are not exactly such a tensor."""
    if kind == "BYTES":
        return _texts(name, shape, bytes(raw))
    stored = np.dtype("uint16") if kind == "BF16" else DTYPES[kind]
    if len(raw) != (size := math.prod(shape) * stored.itemsize):
        raise BadRequest(f"{name!r} has {len(raw)} bytes where {kind} of shape {list(shape)} has {size}", 400)
    found = np.frombuffer(raw, stored.newbyteorder("<")).astype(stored, copy=False)
    if kind == "BF16":
        found = (found.astype("uint32") << 16).view("float32")
    elif kind == "BOOL" and (np.frombuffer(raw, "uint8") > 1).any():
        raise BadRequest(f"{name!r} is BOOL and holds a byte that is neither 0 nor 1", 400)
    return (found if found.flags.aligned else found.copy()).reshape(shape)


def _texts(name: str, shape: tuple[int, ...], raw: bytes) -> Array:
    """Each is its length in four bytes, then that many bytes of UTF-8. What comes after the last is not looked at."""
    texts: list[str] = []
    place, end, many = 0, len(raw), math.prod(shape)
    try:
        for _ in range(many):
            start = place + 4
            place = start + _LENGTH.unpack_from(raw, place)[0]
            texts.append(raw[start:place].decode())
    except struct.error:
        place = end + 1
    except UnicodeDecodeError:
        raise BadRequest(f"input {name!r} holds a text that is none: it is no UTF-8") from None
    if place != end:
        raise BadRequest(f"the bytes of {name!r} are not {many} texts with their lengths", 400)
    found = np.empty(len(texts), object)
    found[:] = texts
    return found.reshape(shape)


def listed(value: Array) -> Any:
    """Its values one after the other, as orjson writes them. What is no text among BYTES is its JSON, null is null."""
    if value.dtype.kind == "M":
        return codecs.times(value).ravel().tolist()
    if value.dtype.kind in "US":
        return value.astype(str).ravel().tolist()
    if value.dtype.kind == "O":
        return [v if v is None or isinstance(v, str) else _json(v) for v in value.ravel().tolist()]
    return value.ravel()


def to_bytes(name: str, value: Array) -> bytes:
    """Raises `BadRequest` where there is null, which no bytes stand for."""
    if datatype(value.dtype) != "BYTES":
        return np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
    texts = listed(value)
    if None in texts:
        raise BadRequest(f"output {name!r} holds null, which has no binary form; ask for it without `binary_data`", 406)
    return b"".join(_parts(texts))


def _parts(texts: Iterable[str]) -> Iterable[bytes]:
    for text in texts:
        raw = text.encode()
        yield _LENGTH.pack(len(raw))
        yield raw


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()

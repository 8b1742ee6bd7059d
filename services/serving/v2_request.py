"""An inference request of the Open Inference Protocol (v2): JSON, and Triton's binary tensors behind it.

https://github.com/kserve/open-inference-protocol: specification/protocol/inference_rest.md;
https://github.com/triton-inference-server/server: docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import codecs, lists, v2_tensors
from .fields import Array, Field
from .refusals import BadRequest
from .schema import Arrays, Schema

BINARY = "application/octet-stream"
_SAME = (None, "np", "pd", "str", "datetime")
"""MLServer's `content_type`s that say of values what their datatype says. No set: what is sent need have no hash."""
_MARKS = tuple({"content_type": of} for of in _SAME if of)
_WHOLE, _OBJECTS = {int}, {dict}
_MOST = 1024
"""Inputs beyond those that the model has, and outputs, in one request."""
_ELSEWHERE = ("shared_memory_region", "classification")


@dataclass(slots=True)
class Asked:
    """`id` comes back. `outputs`: names, and whether as bytes; empty asks for all, `binary` says how."""

    id: str | None
    outputs: tuple[tuple[str, bool], ...]
    binary: bool

    def known(self, outputs: Collection[str]) -> None:
        """Raises `BadRequest` where one is asked for that is not among these."""
        if odd := next((name for name, _ in self.outputs if name not in outputs), None):
            raise BadRequest(f"the model has no output {odd[:80]!r}; it has {', '.join(map(repr, outputs))}")


_ALL = Asked(None, (), binary=False)


@dataclass(slots=True)
class _Tensor:
    """`values`: what "data" holds, or the tensor's bytes."""

    name: str
    kind: str
    shape: tuple[int, ...]
    values: Any

    def flat(self) -> list[Any]:
        """JSON's values one after the other; their lists may be nested as the shape is."""
        if type(self.values) is not list:
            raise BadRequest(f'the "data" of {self.name!r} must be a list', 400)
        if self.values and type(self.values[0]) is list:
            return lists.flat(self.name, self.values, self.shape)[0]
        if len(self.values) != (many := math.prod(self.shape)):
            said = f"holds {len(self.values)} values where the shape {list(self.shape)} has {many}"
            raise BadRequest(f"input {self.name!r} {said}")
        return self.values

    def array(self, *, nulls: bool = False) -> Array:
        """In the datatype that it says it has."""
        if type(self.values) is memoryview:
            return v2_tensors.from_bytes(self.name, self.kind, self.shape, self.values)
        values, dtype = self.flat(), v2_tensors.DTYPES[self.kind]
        if dtype.kind == "O":
            found = lists.texts(self.name, values, nulls=nulls)
        else:
            found = lists.numbers(self.name, values, dtype, nulls=nulls)
        return found.reshape(self.shape)


@dataclass(slots=True)
class _Own:
    """An input as the signature has it. `size`: values of one row; 0 where that is free."""

    field: Field
    datatype: str
    inner: list[int]
    size: int
    single: bool
    """One value in a row, which may be told as `[n, 1]` too, as MLServer does."""

    @classmethod
    def of(cls, field: Field) -> _Own:
        inner = list(field.shape[1:])
        size = 0 if -1 in inner else math.prod(inner)
        return cls(field, v2_tensors.datatype(np.dtype(field.dtype)), inner, size, not inner)


class Requests:
    """What one model's signature makes of them."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._own = {f.name: _Own.of(f) for f in schema.fields}

    def read(self, content_type: str, body: bytes, split: int | None) -> tuple[Arrays, Asked]:
        """`split`: how long the JSON before the binary tensors is. Raises `BadRequest`."""
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in codecs.JSON_TYPES and (split is None or kind != BINARY):
            hint = "; with tensors as bytes, say in inference-header-content-length how long the JSON is"
            raise BadRequest(
                f"content type {kind[:80]!r} is not served; send JSON{hint if kind == BINARY else ''}", 415
            )
        if split is not None and split > len(body):
            raise BadRequest(f"the body has {len(body)} bytes, and the JSON should be {split} of them", 400)
        found = codecs.json_object(body if split is None else body[:split], _usual)
        asked = _asked(found)
        given = found.get("inputs")
        if type(given) is not list or set(map(type, given)) != _OBJECTS:
            raise BadRequest('the body needs "inputs", a list of tensors', 400)
        if len(given) > len(self._own) + _MOST:
            raise BadRequest(f"the request has {len(given)} inputs; the model has {len(self._own)}", 413)
        if split is None and (plain := self._plain(given)) is not None:
            return plain, asked
        tail = memoryview(body)[split:] if split is not None else None
        return self._decoded(_tensors(given, tail, len(body))), asked

    def _plain(self, given: Sequence[Mapping[str, Any]]) -> Arrays | None:
        """Flat lists in just the signature's shapes and datatypes; None where anything is different, or wrong."""
        found: dict[str, Any] = {}
        for item in given:
            shape, values = item.get("shape"), item.get("data")
            name: Any = item.get("name")
            own = self._own.get(name) if type(name) is str else None
            if (
                own is None
                or item.get("datatype") != own.datatype
                or type(values) is not list
                or type(shape) is not list
                or (shape[1:] != own.inner and not (own.single and shape[1:] == [1]))
                or set(map(type, shape)) != _WHOLE
                or len(values) != shape[0] * own.size
                or ((said := item.get("parameters")) and said not in _MARKS)
                or name in found
            ):
                return None
            found[name] = values
        return self._columns(found) if self._schema.columns else self._tensors(found)

    def _columns(self, found: Mapping[str, Any]) -> Arrays | None:
        made = self._schema.lists(found)
        return None if made is found else self._schema.check(made)

    def _tensors(self, found: Mapping[str, list[Any]]) -> Arrays | None:
        made: Arrays = {}
        for name, own in self._own.items():
            if not (values := found.get(name)):
                return None
            rows = len(values) // own.size
            self._schema.count(rows)
            try:
                made[name] = own.field.flat(values, rows)
            except BadRequest:
                return None
        return self._schema.complete(made)

    def _decoded(self, tensors: Sequence[_Tensor]) -> Arrays:
        known = {tensor.name: tensor for tensor in tensors}
        if len(tensors) == 1 and tensors[0].name not in self._own and self._is_table(tensors[0].shape):
            return self._table(tensors[0])
        return self._schema.complete({name: self._array(known[name]) for name in self._own if name in known})

    def _is_table(self, shape: tuple[int, ...]) -> bool:
        """One matrix for all columns, which has a name of its own."""
        wide = len(self._schema.fields)
        return self._schema.columns and wide > 1 and len(shape) == 2 and shape[1] == wide

    def _table(self, tensor: _Tensor) -> Arrays:
        rows, first = tensor.shape[0], next(iter(self._own.values()))
        tensor.name = tensor.name[:80]  # the sender's own, for sentences
        self._schema.count(rows)
        if rows and self._schema.uniform and tensor.kind == first.datatype and type(tensor.values) is not memoryview:
            return self._schema.check(self._schema.flat(tensor.flat(), rows))
        return self._schema.check(self._schema.matrix(tensor.array()))

    def _array(self, tensor: _Tensor) -> Array:
        own = self._own[tensor.name]
        field = own.field
        shape = tensor.shape[:1] if own.single and tensor.shape[1:] == (1,) else tensor.shape
        field.fits(shape)
        self._schema.count(shape[0])
        if not v2_tensors.suits(tensor.kind, np.dtype(field.dtype)):
            raise BadRequest(f"input {tensor.name!r} has datatype {tensor.kind} where {own.datatype} is wanted")
        if tensor.kind == own.datatype and type(tensor.values) is not memoryview:
            return field.made(tensor.flat()).reshape(shape)
        return field.array(tensor.array(nulls=field.nothing is not None).reshape(shape))


def _tensors(given: Sequence[Mapping[str, Any]], tail: memoryview | None, size: int) -> list[_Tensor]:
    """`tail`: the bytes of those that are binary, one after the other."""
    found: dict[str, _Tensor] = {}
    place = 0
    for item in given:
        name, kind = item.get("name"), item.get("datatype")
        if type(name) is not str or type(kind) is not str:
            raise BadRequest('each input needs a "name" and a "datatype"', 400)
        if kind not in v2_tensors.DTYPES:
            raise BadRequest(f"input {name[:80]!r} has datatype {kind[:40]!r}, which the protocol has not", 400)
        if name in found:
            raise BadRequest(f"input {name[:80]!r} is there twice", 400)
        long = _parameters(item, f"input {name[:80]!r}").get("binary_data_size")
        values = item.get("data")
        if long is not None:
            if type(long) is not int or long < 0 or values is not None or tail is None or place + long > len(tail):
                raise BadRequest(f"the bytes of input {name[:80]!r} are not there", 400)
            values, place = tail[place : place + long], place + long
        found[name] = _Tensor(name, kind, v2_tensors.sized(name[:80], item.get("shape"), size), values)
    if tail is not None and place != len(tail):
        raise BadRequest(f"{len(tail) - place} bytes behind the JSON belong to no input", 400)
    return list(found.values())


def _asked(body: Mapping[str, Any]) -> Asked:
    if len(body) == 1:
        return _ALL
    named, outputs = body.get("id"), body.get("outputs")
    if named is not None and type(named) is not str:
        raise BadRequest('the "id" must be a text', 400)
    binary = _flag(_parameters(body, "the request"), "binary_data_output", default=False)
    if outputs is None:
        return Asked(named, (), binary)
    if type(outputs) is list and len(outputs) > _MOST:
        raise BadRequest(f"the request asks for {len(outputs)} outputs; up to {_MOST} are answered", 413)
    if type(outputs) is not list or not all(type(o) is dict and type(o.get("name")) is str for o in outputs):
        raise BadRequest('"outputs" must be a list of objects with a "name"', 400)
    wanted = tuple((o["name"], _flag(_parameters(o, "an output"), "binary_data", default=binary)) for o in outputs)
    if len({name for name, _ in wanted}) < len(wanted):
        raise BadRequest("an output is asked for twice", 400)
    return Asked(named, wanted, binary)


def _parameters(item: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    found = item.get("parameters")
    if found is None:
        return {}
    if type(found) is not dict:
        raise BadRequest(f'the "parameters" of {whose} must be an object', 400)
    if odd := next((name for name in _ELSEWHERE if found.get(name) is not None), None):
        raise BadRequest(f"{whose} has the parameter {odd!r}, which is not served")
    if "name" in item and (said := found.get("content_type")) not in _SAME:
        told = lists.named(said, text=True)
        raise BadRequest(f"{whose} has the content type {told}, which is not read; send values")
    return found


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    found = parameters.get(name)
    if found is not None and type(found) is not bool:
        raise BadRequest(f"the parameter {name!r} must be true or false", 400)
    return default if found is None else found


def _usual(body: Mapping[str, Any]) -> int:
    """Names in the objects of a request: see `codecs.json_object`."""
    names = len(body) + _inner(body.get("parameters"))
    for key in ("inputs", "outputs"):
        items = body.get(key)
        if type(items) is list:
            names += sum(len(item) + _inner(item.get("parameters")) for item in items if type(item) is dict)
    return names


def _inner(parameters: Any) -> int:
    return len(parameters) if type(parameters) is dict else 0

"""Answers of the Open Inference Protocol (v2): JSON, and the bytes of the outputs that were asked for as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from . import v2_tensors
from .fields import Array
from .v2_request import Asked


def encode(about: Mapping[str, Any], asked: Asked, outputs: Mapping[str, Array]) -> tuple[bytes, int | None]:
    """The body, and how long the JSON in it is where bytes come after it. Raises `BadRequest`."""
    if asked.outputs:
        asked.known(outputs)
    told: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, binary in asked.outputs or [(name, asked.binary) for name in outputs]:
        value = outputs[name]
        one: dict[str, Any] = {"name": name, "shape": value.shape, "datatype": v2_tensors.datatype(value.dtype)}
        if binary:
            tail.append(v2_tensors.to_bytes(name, value))
            one["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            one["data"] = v2_tensors.listed(value)
        told.append(one)
    answer = {**about, "outputs": told} if asked.id is None else {**about, "id": asked.id, "outputs": told}
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((head, *tail)), len(head)) if tail else (head, None)

"""How each server wants one row, and where its answer holds the output."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

Arrays = Mapping[str, np.ndarray]
JSON, NPY = "application/json", "application/x-npy"
_DATATYPES = {"float32": "FP32", "int64": "INT64"}


@dataclass(frozen=True, slots=True)
class Form:
    """`encode`: the body of one request. `decode`: the output out of an answer, in the shape it came in."""

    encode: Callable[[Arrays], bytes]
    decode: Callable[[Any], Any]
    content: str = JSON

    def output(self, answer: bytes) -> np.ndarray:
        return np.asarray(self.decode(json.loads(answer)), dtype="float64").ravel()


def _dumped(what: Any) -> bytes:
    return orjson.dumps(what, option=orjson.OPT_SERIALIZE_NUMPY)


def _lists(x: Arrays) -> bytes:
    return _dumped(dict(x))


def _under_inputs(x: Arrays) -> bytes:
    return _dumped({"inputs": dict(x)})


def _instances(x: Arrays) -> bytes:
    """Protocol v1: a row is the value of the only input, or one value for each name."""
    if len(x) == 1:
        return _dumped({"instances": next(iter(x.values()))})
    count = len(next(iter(x.values())))
    return _dumped({"instances": [{name: value[i] for name, value in x.items()} for i in range(count)]})


def _tensors(x: Arrays) -> bytes:
    """Protocol v2."""
    inputs = [
        {"name": name, "shape": list(value.shape), "datatype": _DATATYPES[value.dtype.name], "data": value.ravel()}
        for name, value in x.items()
    ]
    return _dumped({"inputs": inputs})


def _array(x: Arrays) -> bytes:
    """As numpy keeps it in a file."""
    file = io.BytesIO()
    np.save(file, next(iter(x.values())))
    return file.getvalue()


_BOUNDARY = "lockgate-benchmark"


def _file(x: Arrays) -> bytes:
    """The array as a file of a form: how LitServe takes what is no JSON."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="x.npy"\r\n\r\n'
    return head.encode() + _array(x) + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _only_x(x: Arrays) -> bytes:
    """Stock BentoML: the names of the function's parameters."""
    return _dumped({"x": next(iter(x.values()))} if len(x) == 1 else dict(x))


def _output(answer: Any) -> Any:
    return answer["output"]


FORMS: Mapping[str, Form] = {
    "lists": Form(_lists, _output),
    "lists npy": Form(_array, _output, NPY),
    "form npy": Form(_file, _output, f"multipart/form-data; boundary={_BOUNDARY}"),
    "lockgate": Form(_under_inputs, lambda answer: answer["outputs"]["output"]),
    "lockgate npy": Form(_array, lambda answer: answer["outputs"]["output"], NPY),
    "v1": Form(_instances, lambda answer: answer["predictions"]),
    "v2": Form(_tensors, lambda answer: answer["outputs"][0]["data"]),
    "mlflow": Form(_under_inputs, lambda answer: answer["predictions"]["output"]),
    "parameters": Form(_only_x, lambda answer: answer),
}

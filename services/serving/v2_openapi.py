"""What the OpenAPI document says of the Open Inference Protocol (v2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from . import v2_tensors
from .fields import Field
from .schema import Schema

Json = dict[str, Any]
_JSON, _BINARY = "application/json", "application/octet-stream"
_DATA = (
    "As many values as the product of `shape` says, one after the other; lists nested as the shape is are read too. "
    "No JSON schema can say that, nor that each input is there once, and all of them with as many rows."
)
_TOLD = (
    "An inference request of the Open Inference Protocol (v2). With Triton's binary extension, tensors come as bytes "
    "behind the JSON: `inference-header-content-length` says how long that is."
)


def schemas(schema: Schema, leaf: Callable[[np.dtype[Any]], Json], outputs: Sequence[str]) -> Json:
    """`leaf`: of one value. `outputs`: what the model answers, where that is known."""
    inputs = [_input(f, leaf(np.dtype(f.dtype)), schema.max_rows) for f in schema.fields]
    least = sum(f.required for f in schema.fields) or 1
    flags = {"binary_data_output": {"type": "boolean", "nullable": True}}
    request: Json = {
        "id": {"type": "string", "nullable": True, "description": "Comes back in the answer."},
        "inputs": {"type": "array", "minItems": least, "items": {"anyOf": inputs}},
        "parameters": {"type": "object", "nullable": True, "properties": flags},
    }
    if outputs:
        flag = {
            "type": "object",
            "nullable": True,
            "properties": {"binary_data": {"type": "boolean", "nullable": True}},
        }
        one = _object({"name": {"type": "string", "enum": list(outputs)}, "parameters": flag}, "name")
        request["outputs"] = {"type": "array", "nullable": True, "items": one, "description": "Only these, so ordered."}
    tensor = {"name": _text(), "datatype": {"type": "string", "enum": list(v2_tensors.DTYPES)}, "shape": _shape()}
    told = _object({**tensor, "data": {"type": "array", "items": {}}, "parameters": {"type": "object"}}, *tensor)
    answer = {"model_name": _text(), "model_version": _text(), "outputs": {"type": "array", "items": told}}
    about = {"name": _text(), "versions": {"type": "array", "items": _text()}, "platform": _text()}
    free = {**tensor, "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}}}
    tensors = {"type": "array", "items": _object(free, *free)}
    return {
        "InferenceRequest": _object(request, "inputs"),
        "InferenceAnswer": _object({**answer, "id": _text()}, *answer),
        "ModelMetadata": _object({**about, "inputs": tensors, "outputs": tensors}, *about, "inputs", "outputs"),
    }


def paths(names: tuple[str, str], refusals: Mapping[str, Json], headers: Json, example: Json | None) -> Json:
    """`names`: of the model, and its version."""
    model = f"/v2/models/{quote(names[0], safe='')}"
    flags = {"type": "object", "properties": {"live": {"type": "boolean"}, "ready": {"type": "boolean"}}}
    ready = _object({"name": _text(), "ready": {"type": "boolean"}}, "name", "ready")
    extensions = {"type": "array", "items": _text()}
    server = _object({"name": _text(), "version": _text(), "extensions": extensions}, "name", "version", "extensions")
    found: Json = {
        "/v2": _page("v2", "What answers here.", server),
        "/v2/health/live": _page("v2_live", "Whether this replica is alive.", flags),
        "/v2/health/ready": _page("v2_ready", "Whether this replica answers.", flags),
    }
    about = {"$ref": "#/components/schemas/ModelMetadata"}
    for path, suffix in ((model, ""), (f"{model}/versions/{quote(names[1], safe='')}", "_version")):
        found[path] = _page(f"v2_model{suffix}", "The model's inputs and outputs.", about)
        found[f"{path}/ready"] = _page(f"v2_model_ready{suffix}", "Whether this model answers.", ready)
        found[f"{path}/infer"] = {"post": _infer(f"v2_infer{suffix}", refusals, headers, example)}
    return found


def example_of(schema: Schema, example: Mapping[str, Any]) -> Json:
    """The same request as this one, which is for `/predict`."""
    row = example["rows"][0] if schema.columns else example["inputs"]
    told = []
    for field in schema.fields:
        if field.name in row:
            value = np.array(row[field.name], object)
            shape = [1] if schema.columns else list(value.shape)
            kind = v2_tensors.datatype(np.dtype(field.dtype))
            told.append({"name": field.name, "shape": shape, "datatype": kind, "data": value.ravel().tolist()})
    return {"inputs": told}


def _infer(name: str, refusals: Mapping[str, Json], headers: Json, example: Json | None) -> Json:
    form = {"schema": {"$ref": "#/components/schemas/InferenceRequest"}} | ({"example": example} if example else {})
    binary = {"schema": {"type": "string", "format": "binary"}}
    answer = {_JSON: {"schema": {"$ref": "#/components/schemas/InferenceAnswer"}}, _BINARY: binary}
    said = {"description": "The outputs that were asked for.", "headers": headers, "content": answer}
    identity = {"name": "x-request-id", "in": "header", "schema": {"type": "string"}, "description": "Comes back."}
    return {
        "operationId": name,
        "description": _TOLD,
        "parameters": [identity],
        "requestBody": {"required": True, "content": {_JSON: form, _BINARY: binary}},
        "responses": {"200": said, **refusals},
    }


def _input(field: Field, leaf: Json, most: int) -> Json:
    """A number may come in any of the numbers' datatypes: what matters is that no value changes."""
    dtype = np.dtype(field.dtype)
    kinds = [name for name in v2_tensors.DTYPES if v2_tensors.suits(name, dtype)]
    if field.nothing:
        leaf["nullable"] = True
    rows = "x".join(["n", *("m" if size < 0 else str(size) for size in field.shape[1:])])
    data: Json = {"type": "array", "items": leaf, "minItems": 1, "description": _DATA}
    if -1 not in field.shape[1:]:
        data["maxItems"] = most * int(np.prod(field.shape[1:]))
    properties = {
        "name": {"type": "string", "enum": [field.name]},
        "shape": {**_shape(), "description": f"{rows}; rows first."},
        "datatype": {"type": "string", "enum": kinds},
        "data": data,
        "parameters": {"type": "object", "nullable": True, "description": "MLServer's `content_type` may be here."},
    }
    return _object(properties, "name", "shape", "datatype", "data")


def _shape() -> Json:
    return {"type": "array", "items": {"type": "integer", "minimum": 0}}


def _text() -> Json:
    return {"type": "string"}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


def _page(name: str, said: str, schema: Json) -> Json:
    answer = {"description": said, "content": {_JSON: {"schema": schema}}}
    return {"get": {"operationId": name, "description": said, "responses": {"200": answer}}}

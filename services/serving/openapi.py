"""What this replica answers, as an OpenAPI document made of the model's signature. It is the whole of `/docs.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from . import v2_openapi
from .fields import Field
from .lists import TIMES
from .schema import Schema

VERSION = "3.0.3"
"""BentoML's page at `/` reads no 3.1."""
_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}
_LONGEST_EXAMPLE = 4096
_JSON = "application/json"
_REFUSALS = {
    "400": "The body is no JSON, npy or Arrow, or has none of the forms above.",
    "406": "Neither JSON nor npy is accepted, or npy cannot carry the answer.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large, or has too many rows.",
    "415": "The content type or the content encoding is not read.",
    "422": "The values do not fit the signature; the sentence names the input.",
    "429": "Too many rows wait, or too many large bodies arrive. Send the request again later.",
    "500": "The model failed on this request.",
    "504": "The model did not answer in time.",
}


def document(
    schema: Schema, names: tuple[str, str], example: Mapping[str, Any] | None = None, outputs: Sequence[str] = ()
) -> bytes:
    """`names`: of the model, and its version. `example`: a body that it answers. `outputs`: where they are known."""
    model, version = names
    refusals = {code: _refusal(said) for code, said in _REFUSALS.items()}
    of_v2 = v2_openapi.example_of(schema, example) if example else None
    paths = {
        "/predict": {"post": _predict(schema, example)},
        "/info": {"get": _page("info", "Which model version this replica serves.", _JSON, _strings())},
        "/readyz": {"get": _page("ready", "Whether this replica answers.", "text/plain", {"type": "string"})},
        "/metrics": {"get": _page("metrics", "What this replica counts.", "text/plain", {"type": "string"})},
        **v2_openapi.paths(names, refusals, _headers(), of_v2),
    }
    error = {
        "type": "object",
        "required": ["error", "request_id"],
        "properties": {
            "error": {"type": "string", "minLength": 1, "description": "A sentence: what is wrong, and where."},
            "request_id": {"type": "string"},
        },
    }
    info = {"title": model, "version": version, "description": f"Predictions of version {version} of {model}."}
    tensors = v2_openapi.schemas(schema, _leaf, outputs)
    components = {"schemas": {"Request": request_schema(schema), "Answer": _answer(), "Error": error, **tensors}}
    return orjson.dumps(
        {"openapi": VERSION, "info": info, "servers": [{"url": "."}], "paths": paths, "components": components}
    )


def example_of(schema: Schema, rows: Mapping[str, Any]) -> dict[str, Any] | None:
    """A request with the first of these rows; None where it is long."""
    first = {name: value[:1] for name, value in rows.items()}
    if sum(value.nbytes for value in first.values()) > _LONGEST_EXAMPLE:
        return None
    plain = {f.name: _shown(first[f.name], f) for f in schema.fields if f.name in first}
    if not schema.columns:
        return {"inputs": plain}
    return {"rows": [{name: value[0] for name, value in plain.items()}]}


def _shown(value: Any, field: Field) -> Any:
    if np.dtype(field.dtype).kind == "M":
        return [None if text == "NaT" else f"{text}Z" for text in np.datetime_as_string(value).tolist()]
    if np.dtype(field.dtype).kind == "f":
        plain = value.astype(object)
        plain[np.isnan(value)] = None  # as it is sent
        return plain.tolist()
    return value.tolist()


def request_schema(schema: Schema) -> dict[str, Any]:
    """Tensors as `{"inputs": {name: rows}}`, columns as `{"rows": [{name: value}]}`."""
    if schema.columns:
        return _object("rows", _rows(_record(schema.fields), schema))
    tensors = {f.name: _rows(_cell(f), schema) for f in schema.fields}
    required = [f.name for f in schema.fields]
    return _object("inputs", {"type": "object", "properties": tensors, "required": required})


def _predict(schema: Schema, example: Mapping[str, Any] | None) -> dict[str, Any]:
    form = {"schema": {"$ref": "#/components/schemas/Request"}} | ({"example": example} if example else {})
    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds = {_JSON: form, "application/vnd.apache.arrow.stream": binary}
    if schema.columns or len(schema.fields) == 1:
        kinds["application/x-npy"] = binary
    answer = {_JSON: {"schema": {"$ref": "#/components/schemas/Answer"}}, "application/x-npy": binary}
    told = f"Predictions for 1 to {schema.max_rows} rows. Columns that the signature has not are ignored."
    identity = {"name": "x-request-id", "in": "header", "schema": {"type": "string"}, "description": "Comes back."}
    return {
        "operationId": "predict",
        "description": told,
        "parameters": [identity],
        "requestBody": {"required": True, "content": kinds},
        "responses": {
            "200": {"description": "One value of each output for each row.", "headers": _headers(), "content": answer},
            **{code: _refusal(said) for code, said in _REFUSALS.items()},
        },
    }


def _headers() -> dict[str, Any]:
    told = {
        "x-request-id": "The request's own, or one that was made for it.",
        "x-lockgate-version": "The model version that answered.",
        "x-lockgate-digest": "The digest of the artifact that answered.",
    }
    return {
        name: {"description": said, "required": True, "schema": {"type": "string", "minLength": 1}}
        for name, said in told.items()
    }


def _refusal(said: str) -> dict[str, Any]:
    content = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": said, "headers": _headers(), "content": content}


def _page(name: str, said: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {kind: {"schema": schema}}
    return {"operationId": name, "description": said, "responses": {"200": {"description": said, "content": content}}}


def _strings() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": "string"}}


def _answer() -> dict[str, Any]:
    """A model's outputs are what it answers: their names and shapes are in no signature that can be relied on."""
    outputs = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "array", "items": {}}}
    properties = {"model": {"type": "string"}, "version": {"type": "string"}, "outputs": outputs}
    return {"type": "object", "required": list(properties), "properties": properties}


def _object(name: str, inner: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: inner}}


def _rows(item: dict[str, Any], schema: Schema) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": schema.max_rows}


def _record(fields: tuple[Field, ...]) -> dict[str, Any]:
    """A column that has no value for nothing is needed in each row, whatever the signature says."""
    return {
        "type": "object",
        "properties": {f.name: _cell(f) for f in fields},
        "required": [f.name for f in fields if not f.nothing],
    }


def _cell(field: Field) -> dict[str, Any]:
    """One row of the field: a number, or arrays in arrays around it. That rows are alike, no JSON schema can say."""
    leaf = _leaf(np.dtype(field.dtype))
    if field.nothing:
        leaf["nullable"] = True
    for size in reversed(field.shape[1:]):
        leaf = {"type": "array", "items": leaf, "minItems": max(size, 1)}
        if size > 0:
            leaf["maxItems"] = size
    return leaf


def _leaf(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.kind == "M":
        return {"type": "string", "format": "date-time", "description": f"Of the years {TIMES}."}
    if dtype.kind not in _TYPES:
        return {"type": "string"}
    found: dict[str, Any] = {"type": _TYPES[dtype.kind], "format": dtype.name}
    if dtype.kind == "f" and dtype.itemsize < 8:  # JSON's own numbers go as far as a double
        largest = _largest(dtype)
        found |= {"minimum": -largest, "maximum": largest}
    elif dtype.kind in "iu":
        found |= {"minimum": int(np.iinfo(dtype).min), "maximum": int(np.iinfo(dtype).max)}
    return found


def _largest(dtype: np.dtype[Any]) -> float:
    """Of the doubles that become a finite number of this type; half a step beyond its own largest, none does."""
    most = np.finfo(dtype).max
    return float(np.nextafter(float(most) + float(np.spacing(most / 2)), 0.0))

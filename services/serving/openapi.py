"""The signature as JSON schema, for the API's own documentation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .fields import Field
from .schema import Schema

_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}


def request_schema(schema: Schema) -> dict[str, Any]:
    """Tensors as `{"inputs": {name: rows}}`, columns as `{"rows": [{name: value}]}`."""
    if schema.columns:
        return _object("rows", _rows(_record(schema.fields), schema))
    tensors = {f.name: _rows(_cell(f), schema) for f in schema.fields}
    required = [f.name for f in schema.fields]
    return _object("inputs", {"type": "object", "properties": tensors, "required": required})


def _object(name: str, inner: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: inner}}


def _rows(item: dict[str, Any], schema: Schema) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": schema.max_rows}


def _record(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {f.name: _cell(f) for f in fields},
        "required": [f.name for f in fields if f.required],
    }


def _cell(field: Field) -> dict[str, Any]:
    """One row of the field: a number, or arrays in arrays around it."""
    kind = np.dtype(field.dtype).kind
    leaf: dict[str, Any] = {"type": _TYPES.get(kind, "string"), "format": "date-time" if kind == "M" else field.dtype}
    if not field.required:
        leaf["nullable"] = True
    for size in reversed(field.shape[1:]):
        leaf = {"type": "array", "items": leaf}
        if size > 0:
            leaf |= {"minItems": size, "maxItems": size}
    return leaf

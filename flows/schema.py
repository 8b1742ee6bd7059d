"""The spec as a JSON schema, for editors to complete from and to check against while one types."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from lockgate.flows.spec import Spec


class _AsWritten(GenerateJsonSchema):
    """Defaults as people write them: `10s`, not 10.0."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        writer: Any = schema["schema"].get("serialization", {})
        if made.get("default") is not None and writer.get("type") == "function-plain":
            made["default"] = writer["function"](made["default"])
        return made


def json_schema() -> dict[str, Any]:
    made = Spec.model_json_schema(schema_generator=_AsWritten)
    return {"$schema": GenerateJsonSchema.schema_dialect, **made, "title": "lockgate.yaml"}


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"

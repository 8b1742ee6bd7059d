"""The `model:` section: which model versions a rollout is about."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator


def _reference(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('write an alias in quotes, like "@challenger", or a version number')
    text = str(value)
    if not re.fullmatch(r"@[A-Za-z0-9_-]+|[1-9][0-9]*", text):
        raise ValueError(f"{text!r} is neither an alias like '@challenger' nor a version number")
    if re.fullmatch(r"@(latest|v\d+)", text, re.IGNORECASE):
        raise ValueError(f"{text!r} is reserved by MLflow; choose another alias")
    return text


def _nameable(value: str) -> str:
    if re.search(r"[/:]", value) or not value.isprintable() or not value.strip():
        raise ValueError(
            f"{value!r} cannot be a registered model's name; MLflow wants visible text without '/' and ':'"
        )
    return value


_ANY_REFERENCE = {
    "anyOf": [{"type": "string", "pattern": "^(@[A-Za-z0-9_-]+|[1-9][0-9]*)$"}, {"type": "integer", "minimum": 1}],
    "examples": ["@challenger", 7],
}
Reference = Annotated[str, BeforeValidator(_reference), WithJsonSchema(_ANY_REFERENCE)]


class Trust(BaseModel):
    """What may be unpickled. Loading a pickle runs its author's code, so nothing is trusted by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pickle: bool = Field(default=False, description="Load models that are stored as pickle or cloudpickle.")
    types: tuple[str, ...] = Field(
        default=(), description="Types a skops file may hold beyond scikit-learn's own safe ones."
    )


class ModelSpec(BaseModel):
    """The registered model and the two versions that meet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="The registered model's name in MLflow.")
    stable: Reference = Field(default="@champion", description="Serves today: an alias or a version number.")
    candidate: Reference = Field(
        default="@challenger", validate_default=True, description="Wants to serve: an alias or a version number."
    )
    others: dict[str, Reference] = Field(
        default={}, description="More challengers for the last `ab` step, by name: aliases or version numbers."
    )
    trust: Trust = Field(default=Trust(), description="What may be unpickled; nothing, unless it is written here.")

    _nameable = field_validator("name")(_nameable)

    @field_validator("candidate")
    @classmethod
    def _another_version(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("stable"):
            raise ValueError(f"stable and candidate are both {value!r}; a rollout needs two versions")
        return value

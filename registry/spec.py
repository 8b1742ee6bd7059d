"""The `model:` section: which model versions a rollout is about."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _reference(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("write an alias like '@challenger' or a version number")
    text = str(value)
    if not re.fullmatch(r"@[A-Za-z0-9_-]+|[1-9][0-9]*", text):
        raise ValueError(f"{text!r} is neither an alias like '@challenger' nor a version number")
    return text


def _alias_allowed(value: str) -> str:
    if re.fullmatch(r"@(latest|v\d+)", value, re.IGNORECASE):
        raise ValueError(f"{value!r} is reserved by MLflow; choose another alias")
    return value


Reference = Annotated[str, BeforeValidator(_reference), AfterValidator(_alias_allowed)]


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
    candidate: Reference = Field(default="@challenger", description="Wants to serve: an alias or a version number.")
    trust: Trust = Trust()

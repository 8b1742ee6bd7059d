"""The sentences for a model whose loading would run its author's code."""

from __future__ import annotations

from collections.abc import Iterable

from .words import Flavour, ModelVersion

ALLOW_PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
_SAFE = {
    "pytorch": "serialization_format='pt2'",
    "sklearn": "serialization_format='skops'",
    "lightgbm": "serialization_format='skops'",
}


def pickle_sentence(version: ModelVersion, flavour: Flavour, storage: str) -> str:
    how = (
        f"Log it with mlflow.{flavour}.log_model(..., {_SAFE[flavour]})"
        if flavour in _SAFE
        else "Log what is inside it with that library's own flavour, such as mlflow.sklearn"  # of pyfunc
    )
    return (
        f"{version} is stored as {storage}: loading it runs whatever code its author put there, and the spec does not "
        f"allow that. {how}, or, if you vouch for its author, write in the spec:\n"
        "model:\n  trust:\n    pickle: true"
    )


def environment_sentence(version: ModelVersion) -> str:
    return (
        f"{version} is stored as a pickle, which the spec allows and this machine's environment forbids: "
        f"{ALLOW_PICKLES} is false here. Log the model without a pickle, or unset the variable."
    )


def types_sentence(version: ModelVersion, missing: Iterable[str], allowed: Iterable[str]) -> str:
    missing = sorted(missing)
    lines = "".join(f"\n      - {name}" for name in sorted({*allowed, *missing}))
    return (
        f"{version} holds types that nobody vouched for: {', '.join(missing)}. Loading them can run code. If you know "
        f"them and trust the model's author, write in the spec:\nmodel:\n  trust:\n    types:{lines}"
    )

"""Model versions as values. No vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
"""Named inputs or outputs; the first dimension of each is the row."""

Flavour = Literal["pytorch", "sklearn", "onnx", "keras", "tensorflow", "xgboost", "lightgbm", "pyfunc"]
"""What the model is, not which of MLflow's modules logged it: mlflow.tensorflow logs Keras models too."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model, as the registry knows it now."""

    name: str
    version: str
    source: str
    run_id: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model version on this machine's disk, checked: it has a signature and an input example.

    `signature` is `{"inputs": [...], "outputs": [...] | None}` in MLflow's own JSON form (`ModelSignature.to_dict()`,
    parsed). `example` has at least one row. `digest` is the sha256 of the model's files.
    """

    version: ModelVersion
    path: Path
    digest: str
    flavour: Flavour
    signature: Mapping[str, Any]
    example: Arrays


@dataclass(frozen=True, slots=True)
class SourceModel:
    """The model as its author logged it, in memory. `run` is the truth that parity is measured against.

    `native` is the flavour's own object: a torch module or exported program's module, a scikit-learn estimator, or
    an ONNX ModelProto. `storage` says how the file on disk is read (`pt2`, `pickle`, `skops`, `keras`, `ubj`, `onnx`,
    `keras`, `keras+pickle`, `h5`, `savedmodel`) and `file` where it is, relative to the model's folder.
    """

    fetched: FetchedModel
    native: Any
    storage: str
    file: str
    run: Callable[[Arrays], Arrays]


class Registry(Protocol):
    """Which model versions there are, and which of them serve."""

    def resolve(self, name: str, reference: str) -> ModelVersion:
        """The version that an alias (`@champion`) or a number names now. Raises `NoSuchVersion`, `RegistryDown`."""

    def fetch(self, version: ModelVersion) -> FetchedModel:
        """Download once into the cache and check. Raises `Unusable`, `RegistryDown`."""

    def assign(self, name: str, version: str, *, expected: str | None) -> None:
        """Point `@champion` at `version` and `@previous` at the one before; doing it again changes nothing.

        `expected` is the version that `@champion` is believed to name; raises `Conflict` when it names neither
        `expected` nor `version`. None believes nothing: the alias is moved from wherever it is.
        """

    def annotate(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Set `lockgate.*` tags on the version; keys are given without the prefix."""

    def record(self, version: ModelVersion, folder: str, files: Mapping[str, bytes]) -> None:
        """Keep files with the version, under `lockgate/<folder>` of the run that logged it. Raises `RegistryDown`."""

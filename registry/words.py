"""Model versions as values. No vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from .approvals import Page, Request

EVIDENCE_ROOM = 4500
"""Characters: PostgreSQL keeps at most 5,000 of a description."""

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
class Run:
    """Where files of a version are kept."""

    experiment: str
    id: str
    folder: str
    """Path of the files within the run's artifacts."""


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

    def record(self, version: ModelVersion, folder: str, files: Mapping[str, bytes]) -> Run:
        """Keep files with the version, under `lockgate/<folder>` of the run that logged it. Raises `RegistryDown`."""

    def ask(self, version: ModelVersion, request: Request, evidence: str) -> str:
        """Show `evidence` (markdown, at most `EVIDENCE_ROOM` characters) and the request on the version's page.

        What the author wrote there stays. Asking the same again changes nothing but what somebody mistyped; another
        request replaces the one before and every decision on it. Returns sha256 of the evidence as `page` will read it.
        Raises `RegistryDown`.
        """

    def page(self, version: ModelVersion) -> Page:
        """What stands on the version's page now; decisions whose signature holds are `verified`.

        Where the registry keeps no names, an edited `lockgate.approval` is one decision by nobody known.
        Raises `NoSuchVersion`, `RegistryDown`.
        """

    def close(self, version: ModelVersion, request: Request, outcome: str) -> None:
        """The request is over: `lockgate.approval` says `outcome`. Nothing where another one stands by now."""

    def decide(self, version: ModelVersion, request: Request, *, approve: bool, comment: str) -> None:
        """Approve or reject as the person whose credentials are in the environment. Raises `Refused` with a reason."""

    def digest(self, version: ModelVersion) -> str:
        """sha256 of the version's files as they are in the registry now: they are downloaded anew."""

    def training_file(self, version: ModelVersion, artifact: str, into: Path, *, data_set: bool = False) -> Path | None:
        """A file of training rows, put into `into`: `artifact` of the run that logged the version.

        Else the data set that the run logged, where `data_set` asks for it: whoever logged the run chose its address.
        None where there is neither, of up to 1 GiB. Raises `RegistryDown`.
        """

    def knows_people(self) -> bool:
        """Whether the registry's server vouches for who approves. Raises `RegistryDown`."""

    def announce(self, name: str, rollout: str) -> None:
        """Say on the registered model which rollout of it is open; empty when none is. Raises `RegistryDown`."""

    def announced(self, name: str) -> str:
        """The rollout that was announced last; empty when none is open. Raises `RegistryDown`."""

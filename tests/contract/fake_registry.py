"""A registry in memory, for the tests of those who only need some registry. It passes MLflow's contract tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lockgate.registry.errors import Conflict, NoSuchVersion, RegistryDown, Unusable
from lockgate.registry.words import FetchedModel, ModelVersion

_TENSOR = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}


@dataclass
class FakeRegistry:
    """`put` fills it; `down` makes every verb raise `RegistryDown`; `unusable` holds versions that `fetch` refuses."""

    models: dict[str, dict[str, ModelVersion]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    unusable: set[tuple[str, str]] = field(default_factory=set)
    down: bool = False
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)

    def put(self, name: str, versions: int) -> None:
        self.models[name] = {str(n): ModelVersion(name, str(n), f"fake:/{name}/{n}") for n in range(1, versions + 1)}

    def resolve(self, name: str, reference: str) -> ModelVersion:
        self._answer()
        number = self.aliases.get((name, reference[1:])) if reference.startswith("@") else reference
        found = self.models.get(name, {}).get(number or "")
        if found is None:
            raise NoSuchVersion(f"There is no {name} {reference} in the fake registry.")
        names = sorted(alias for (model, alias), at in self.aliases.items() if (model, at) == (name, number))
        return replace(found, aliases=tuple(names))

    def fetch(self, version: ModelVersion) -> FetchedModel:
        self._answer()
        if (version.name, version.version) in self.unusable:
            raise Unusable(f"{version} cannot be rolled out: it has no signature.")
        return FetchedModel(
            version=version,
            path=Path("/nonexistent"),
            digest=hashlib.sha256(version.source.encode()).hexdigest(),
            flavour="sklearn",
            signature={"inputs": [_TENSOR], "outputs": None},
            example={"input": np.zeros((2, 3), "float32")},
        )

    def assign(self, name: str, version: str, *, expected: str | None) -> None:
        self.resolve(name, version)
        before = self.aliases.get((name, "champion"))
        if before == version:
            return
        if expected is not None and before != expected:
            raise Conflict(f"@champion of {name!r} names {before} where version {expected} was expected.")
        if before is not None:
            self.aliases[name, "previous"] = before
        self.aliases[name, "champion"] = version

    def annotate(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        found = self.resolve(name, version)
        written = {f"lockgate.{key}": str(value)[:5000] for key, value in tags.items()}
        self.models[name][version] = replace(found, tags={**found.tags, **written})

    def record(self, version: ModelVersion, folder: str, files: Mapping[str, bytes]) -> None:
        self.resolve(version.name, version.version)
        for name, content in files.items():
            self.files[version.name, version.version, f"lockgate/{folder}/{name}"] = content

    def _answer(self) -> None:
        if self.down:
            raise RegistryDown("The fake registry is down.")

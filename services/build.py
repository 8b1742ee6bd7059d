"""A source model becomes an artifact: the first target in the spec's order that supports it and keeps parity."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.registry.words import SourceModel
from lockgate.services import cache as shelf
from lockgate.services.compilers import compiler, source
from lockgate.services.errors import NoTarget, ParityFailed
from lockgate.services.parity import Reference
from lockgate.services.ports import Compiler
from lockgate.services.serving import engines
from lockgate.services.serving.schema import Schema
from lockgate.services.spec import Parity, ServiceSpec
from lockgate.services.words import Artifact, ParityEvidence

_WARM_UP_ROWS = 100


class _Refused(Exception):
    """Why a target is not served; `evidence` where it was compiled and differed."""

    def __init__(self, reason: str, evidence: ParityEvidence | None = None) -> None:
        super().__init__(reason)
        self.evidence = evidence


def compile_model(model: SourceModel, spec: ServiceSpec, cache: Path) -> Artifact:
    """The artifact to serve, from `cache` where the same was built before.

    A target that does not support the model, cannot compile it or differs from it is passed over, with the reason in
    `Artifact.skipped`. Raises `ParityFailed` when none is left and one of them differed, naming the largest
    difference, or when the source itself cannot be served in batches; else `NoTarget`.
    """
    bench = _Bench(model, spec.compile.parity, cache)
    skipped: list[tuple[str, str]] = []
    differed: list[tuple[str, ParityEvidence]] = []
    for target in spec.compile.targets:
        try:
            return replace(bench.artifact(target), skipped=tuple(skipped))
        except _Refused as refused:
            skipped.append((target, str(refused)))
            if refused.evidence is not None:
                differed.append((target, refused.evidence))
    raise _nothing_left(model, skipped, differed)


def _nothing_left(
    model: SourceModel, skipped: list[tuple[str, str]], differed: list[tuple[str, ParityEvidence]]
) -> NoTarget | ParityFailed:
    reasons = "; ".join(f"{target}: {reason}" for target, reason in skipped)
    if not differed:
        return NoTarget(f"no target of service.compile.targets can compile {model.fetched.version}. {reasons}.")
    target, worst = max(differed, key=lambda d: d[1].max_abs_error)
    others = "; ".join(f"{t}: {reason}" for t, reason in skipped if t != target)
    return ParityFailed(
        f"{model.fetched.version} compiled to {target} does not answer as its source does: {worst.reason}."
        + (f" Passed over before or after: {others}." if others else "")
    )


class _Bench:
    """Compiles one model to one target after the other."""

    def __init__(self, model: SourceModel, parity: Parity, cache: Path) -> None:
        self._model, self._parity, self._cache = model, parity, cache
        try:
            self._schema = source.schema(model)
        except ValueError as bad:
            raise NoTarget(f"{model.fetched.version} cannot be served: {bad}.") from bad

    @cached_property
    def _reference(self) -> Reference:
        return Reference(self._model, self._parity)

    def artifact(self, target: str) -> Artifact:
        maker = compiler(target)
        if reason := maker.supports(self._model):
            raise _Refused(reason)
        name = shelf.key(self._model, target, self._parity)
        with shelf.workshop(self._cache, name) as workshop:
            if found := shelf.load(self._cache / name):
                return found
            self._build(maker, workshop, self._cache / name)
        built = shelf.load(self._cache / name)
        if built is None:
            raise _Refused(f"its files changed in {self._cache} while it was built")
        return built

    def _build(self, maker: Compiler, workshop: Path, place: Path) -> None:
        reference = self._reference  # a source that cannot be served is found before anything is compiled
        folder = workshop / "built" / "artifact"
        folder.mkdir(parents=True)
        try:
            manifest = self._manifest(maker, maker.compile(self._model, folder), folder)
            engine = engines.load(folder, manifest)
        except Exception as failed:
            raise _Refused(f"could not be compiled: {type(failed).__name__}: {_one_line(failed)}") from failed
        evidence = reference.prove(engine, maker.target)
        if not evidence.passed:
            raise _Refused(evidence.reason, evidence)
        shelf.store(folder.parent, place, manifest, evidence)

    def _manifest(self, maker: Compiler, compiled: Any, folder: Path) -> dict[str, Any]:
        """What the engine and the service inside the bento need to know, and where it was made."""
        manifest = {
            **compiled,
            "target": maker.target,
            "inputs": list(self._schema.names),
            "signature": dict(self._model.fetched.signature),
            "built_on": shelf.built_on(),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _write_example(self._model, self._schema, folder / "example.npz")
        return manifest


def _write_example(model: SourceModel, schema: Schema, path: Path) -> None:
    """The input example for the replica's warm-up; strings as fixed-width text, for object arrays are pickles."""
    rows = len(next(iter(model.fetched.example.values())))
    stored = {}
    for i, field in enumerate(schema.fields):
        given = model.fetched.example.get(field.name)
        value = field.missing(rows) if given is None else given
        stored[f"x{i}"] = (
            np.array([v or "" for v in value.flat]).reshape(value.shape) if value.dtype == object else value
        )
    np.savez(path, allow_pickle=False, **{name: value[:_WARM_UP_ROWS] for name, value in stored.items()})


def _one_line(failed: Exception) -> str:
    return " ".join(str(failed).split())[:400]

"""The model as it was logged, loaded by its own library. The target that is always left."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate.registry.words import SourceModel
from lockgate.services.compilers import pickles, source
from lockgate.services.serving.engines.feeds import feed

_FILES = {"pt2": "model.pt2", "pickle": "model.pkl", "cloudpickle": "model.pkl", "skops": "model.skops"}


class Eager:
    target = "eager"

    def supports(self, model: SourceModel) -> str | None:
        if model.fetched.flavour == "onnx":
            return "an ONNX model has no eager form; its runtime is the target onnxruntime"
        return source.missing(self._needs(model))

    def compile(self, model: SourceModel, into: Path) -> Mapping[str, Any]:
        file = _FILES[model.storage]
        needs = self._needs(model)
        manifest: dict[str, Any] = {"file": file, "storage": model.storage, "outputs": source.outputs(model)}
        if model.storage in ("pickle", "cloudpickle"):
            needs |= pickles.write(model, into / file)
        else:
            shutil.copyfile(model.fetched.path / model.file, into / file)
        manifest["packages"] = source.versions(needs)
        return manifest | (_torch(model) if model.fetched.flavour == "pytorch" else _sklearn(model))

    def _needs(self, model: SourceModel) -> set[str]:
        if model.fetched.flavour == "pytorch":
            return {"torch"}
        needs = {"sklearn", "threadpoolctl", "skops" if model.storage == "skops" else "cloudpickle"}
        return needs | ({"pandas"} if source.schema(model).columns else set())


def _torch(model: SourceModel) -> dict[str, Any]:
    return {"engine": "torch", "feeds": source.tensors(model)}


def _sklearn(model: SourceModel) -> dict[str, Any]:
    found = source.schema(model)
    manifest: dict[str, Any] = {"engine": "sklearn", "feeds": [], "columns": list(found.names)}
    if not found.columns:
        manifest |= {"feeds": [feed([f.name], f.dtype) for f in found.fields], "columns": None}
    if model.storage == "skops":
        import skops.io

        # The registry loaded this file, so its owner trusts every type in it.
        manifest["trusted"] = skops.io.get_untrusted_types(file=model.fetched.path / model.file)
    return manifest

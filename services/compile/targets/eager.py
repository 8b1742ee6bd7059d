"""The model as it was logged, run by its own library. The target that is always left."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .. import source
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision

_WRITERS = {
    "pytorch": "eager_torch",
    "sklearn": "eager_sklearn",
    "xgboost": "eager_boosted",
    "lightgbm": "eager_boosted",
    "keras": "eager_keras",
    "tensorflow": "eager_tensorflow",
    "pyfunc": "eager_pyfunc",
}


class Eager(Compiler):
    """Each writer has `needs(about)`, the modules that loading takes; `refuses(about, precision, device)`; `write`."""

    target = "eager"

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if about.flavour == "onnx":
            return "an ONNX model has no eager form; its runtime is the target onnxruntime"
        writer = _writer(about)
        refusal: str | None = writer.refuses(about, precision, device)
        return refusal or source.missing(writer.needs(about))

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        found: dict[str, Any] = _writer(model.about).write(model, job, into)
        return {"outputs": source.outputs(model), "portable": True, **found}


def _writer(about: About) -> Any:
    return import_module(f"{__package__}.{_WRITERS[about.flavour]}")

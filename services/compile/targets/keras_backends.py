"""A `.keras` file served by Keras itself: traced on TensorFlow, or on torch without any TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .. import source
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import from_keras


class _OnBackend(Compiler):
    backend: ClassVar[str]

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        return from_keras.refuses(about, precision, device, ("keras", self.backend))

    def environment(self, about: About) -> Mapping[str, str]:  # noqa: ARG002
        return {"KERAS_BACKEND": self.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        form, feeds = from_keras.fed(model)
        return {
            "engine": "keras",
            **from_keras.write(model, from_keras.lowered(model.native, job.precision), into),
            "backend": self.backend,
            "device": job.device,
            "traced": self.backend == "tensorflow",
            "form": form,
            "feeds": feeds,
            "outputs": from_keras.outputs(model),
            "packages": source.versions(["keras", self.backend]),
            "portable": True,
        }


class KerasTensorFlow(_OnBackend):
    target = "keras-tensorflow"
    alike = "savedmodel"
    backend = "tensorflow"


class KerasTorch(_OnBackend):
    target = "keras-torch"
    backend = "torch"

"""A Keras model called as Python, layer by layer, on the backend that it was loaded on: the honest baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import source
from ..words import About, Device, Job, Model, Precision
from . import from_keras


def needs(about: About) -> set[str]:
    return {"keras"} | ({"cloudpickle"} if about.storage == "keras+pickle" else set())


def refuses(about: About, precision: Precision, device: Device) -> str | None:
    if precision != "fp32":
        return "eager is the model as it was logged; savedmodel and xla have lower precisions"
    return from_keras.refuses(about, precision, device, ())


def write(model: Model, job: Job, into: Path) -> dict[str, Any]:
    import keras

    form, feeds = from_keras.fed(model)
    backend = keras.backend.backend()
    return {
        "engine": "keras",
        **from_keras.write(model, model.native, into),
        "backend": backend,
        "device": job.device,
        "traced": False,
        "form": form,
        "feeds": feeds,
        "outputs": from_keras.outputs(model),
        "packages": source.versions({backend, *needs(model.about)}),
    }

"""A Keras model exported as one TensorFlow graph with a free batch: no Python of Keras at serving time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import source
from ..engines.keras import caller, specs
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import from_keras

FOLDER = "saved_model"


class SavedModel(Compiler):
    target = "savedmodel"

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if about.flavour == "tensorflow":
            return "it was logged as a SavedModel: that is its target eager"
        return from_keras.refuses(about, precision, device, ("keras", "tensorflow"))

    def environment(self, about: About) -> Mapping[str, str]:  # noqa: ARG002
        return {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        return export(model, job, into, jit=False)


def export(model: Model, job: Job, into: Path, *, jit: bool) -> dict[str, Any]:
    """One endpoint, `serve`, that takes each tensor by itself. Whether XLA compiles it is kept in the graph."""
    import keras
    import tensorflow as tf

    native = from_keras.lowered(model.native, job.precision)
    form, feeds = from_keras.fed(model)
    archive = keras.export.ExportArchive()
    archive.track(native)
    call = caller(native, form, feeds)
    serve = tf.function(call, input_signature=specs(tf, feeds), jit_compile=jit or None, autograph=False)
    archive.add_endpoint("serve", serve)
    with source.quiet():
        archive.write_out(str(into / FOLDER), verbose=False)
    return {
        "engine": "savedmodel",
        "file": FOLDER,
        "device": job.device,
        "function": "serve",
        "form": "each",
        "feeds": feeds,
        "outputs": from_keras.outputs(model),
        "packages": source.versions(["tensorflow"]),
        "portable": True,
    }

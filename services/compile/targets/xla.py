"""A SavedModel whose function XLA compiles when it is loaded, once for each batch size that it will see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import source
from ..errors import Unsupported
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import eager_tensorflow, from_keras, savedmodel


class Xla(Compiler):
    """XLA knows no free batch: the engine fills each batch up to the next of the manifest's `buckets`."""

    target = "xla"

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if about.flavour != "tensorflow":
            return from_keras.refuses(about, precision, device, ("keras", "tensorflow"))
        return eager_tensorflow.refuses(about, precision, device) or source.missing(["tensorflow"])

    def environment(self, about: About) -> Mapping[str, str]:  # noqa: ARG002
        return {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        wrap = _wrapped if model.about.flavour == "tensorflow" else _exported
        manifest = wrap(model, job, into)
        for fed in manifest["feeds"]:
            if fed["dtype"] == "object":
                raise Unsupported("XLA has no strings")
            if None in fed["shape"]:
                raise Unsupported("XLA compiles for each shape, and rows of this model have none that is fixed")
        return manifest | {"buckets": buckets(job.max_batch)}


def buckets(largest: int) -> list[int]:
    """Powers of two up to the largest batch, and that itself."""
    found = [1]
    while found[-1] * 2 < largest:
        found.append(found[-1] * 2)
    return found if largest <= 1 else [*found, largest]


def _exported(model: Model, job: Job, into: Path) -> dict[str, Any]:
    return savedmodel.export(model, job, into, jit=True)


def _wrapped(model: Model, job: Job, into: Path) -> dict[str, Any]:
    """The logged SavedModel inside another one, whose function compiles it."""
    import tensorflow as tf

    from ..engines.keras import specs
    from ..engines.savedmodel import SavedModelEngine

    manifest = eager_tensorflow.manifest(model, job)
    found = getattr(model.native, manifest["function"], None) or model.native.signatures[manifest["function"]]
    inner = SavedModelEngine(tf, found, manifest)
    outer = tf.Module()
    outer.logged = model.native
    outer.serve = tf.function(
        lambda *values: inner.call(list(values)), input_signature=specs(tf, manifest["feeds"]), jit_compile=True
    )
    tf.saved_model.save(outer, str(into / savedmodel.FOLDER))
    return manifest | {"file": savedmodel.FOLDER, "function": "serve", "form": "each", "portable": True}

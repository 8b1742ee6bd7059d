"""A `.keras` file on one of Keras's backends: called as it is (`eager`), or traced into one TensorFlow function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..words import Arrays
from . import feeds
from . import tf as setup


class TensorFlowEngine:
    def __init__(self, tf: Any, call: Callable[..., Any], manifest: Mapping[str, Any]) -> None:
        self._tf, self._call, self._manifest = tf, call, manifest

    def run(self, x: Arrays) -> Arrays:
        return setup.named(self._manifest, self._call(*setup.tensors(self._tf, self._manifest, x)))


class TorchEngine:
    def __init__(self, torch: Any, call: Callable[..., Any], manifest: Mapping[str, Any]) -> None:
        self._torch, self._call, self._manifest = torch, call, manifest

    def run(self, x: Arrays) -> Arrays:
        torch, manifest = self._torch, self._manifest
        with torch.inference_mode():
            device = manifest.get("device", "cpu")
            answer = self._call(*(torch.from_numpy(feeds.take(fed, x)).to(device) for fed in manifest["feeds"]))
        if isinstance(answer, Mapping):
            answer = [answer[want["name"]] for want in manifest["outputs"]]
        values = answer if isinstance(answer, list | tuple) else [answer]
        return feeds.name_outputs(manifest["outputs"], map(_array, values))


def _array(value: Any) -> np.ndarray[Any, Any]:
    """Numpy has no bfloat16."""
    value = value.cpu()
    return np.asarray((value.float() if value.dtype.is_floating_point else value).numpy())


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TensorFlowEngine | TorchEngine:
    """Raises when Keras was imported before on another backend: a process has one."""
    backend = manifest["backend"]
    if "keras" in sys.modules and (other := sys.modules["keras"].backend.backend()) != backend:
        raise RuntimeError(f"Keras runs on {other} in this process; this artifact wants {backend}")
    os.environ["KERAS_BACKEND"] = backend
    library = setup.start(manifest, threads, keras=True) if backend == "tensorflow" else _torch(manifest, threads)
    if backend == "torch":
        with setup.without("tensorflow"):  # Keras imports it where it is installed
            call = caller(_model(folder, manifest), manifest["form"], manifest["feeds"])
        return TorchEngine(library, call, manifest)
    call = caller(_model(folder, manifest), manifest["form"], manifest["feeds"])
    return TensorFlowEngine(library, _traced(library, call, manifest) if manifest["traced"] else call, manifest)


def _torch(manifest: Mapping[str, Any], threads: int | None) -> Any:
    device = manifest.get("device", "cpu")
    os.environ["KERAS_TORCH_DEVICE"] = device
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU; it needs a build for CUDA and a driver that fits it")
    if threads is not None:
        torch.set_num_threads(threads)
    return torch


def _model(folder: Path, manifest: Mapping[str, Any]) -> Any:
    import keras

    objects = {}
    if manifest.get("objects"):
        import cloudpickle  # type: ignore[import-untyped, unused-ignore]

        # A pickle gets here only when the spec's `model.trust.pickle` let the registry load it.
        objects = cloudpickle.loads((folder / manifest["objects"]).read_bytes())
    safe = not manifest.get("unsafe")
    return keras.saving.load_model(folder / manifest["file"], custom_objects=objects, compile=False, safe_mode=safe)


def caller(native: Any, form: str, fed: list[dict[str, Any]]) -> Callable[..., Any]:
    """The model on its tensors in the feeds' order: one by itself, or a list or a mapping of several."""
    if form == "each":
        return lambda value: native(value, training=False)
    if form == "list":
        return lambda *values: native(list(values), training=False)
    names = [one["to"] for one in fed]
    return lambda *values: native(dict(zip(names, values, strict=True)), training=False)


def _traced(tf: Any, call: Callable[..., Any], manifest: Mapping[str, Any]) -> Callable[..., Any]:
    """Traced now with a free batch, not at somebody's request."""
    function = tf.function(call, input_signature=specs(tf, manifest["feeds"]), autograph=False)
    return setup.Kept(function.get_concrete_function(), call)


def specs(tf: Any, fed: list[dict[str, Any]]) -> list[Any]:
    """What each tensor is, with a free batch."""
    return [tf.TensorSpec([None, *one["shape"]], "string" if one["dtype"] == "object" else one["dtype"]) for one in fed]

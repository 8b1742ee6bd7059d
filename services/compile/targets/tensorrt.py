"""TensorRT through ONNX Runtime's provider; its engines are built here, for this GPU, and shipped with the graph.

No GPU was at hand: no test has run it. See docs/limits.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import source
from ..engines import feeds as feeding
from ..engines import onnx as engine
from ..errors import Unsupported
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import onnx_graph, onnx_providers, onnx_quantize


class TensorRt(Compiler):
    target = "tensorrt"
    heavy = True

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG002 - it has all
        if refused := onnx_graph.refusal(about) or source.missing({"onnxruntime"}):
            return refused
        if about.flavour in onnx_graph.CLASSIC:
            return f"TensorRT has no operators for {about.flavour} models"
        if device != "cuda":
            return onnx_providers.absent(engine.CUDA) or "TensorRT runs on the GPU; the device is cpu"
        if any(i.dtype == "object" for i in about.inputs):
            return "TensorRT takes no strings"
        if held := source.held(about, "onnxruntime"):  # its engines' profiles are made of the example's sizes
            return held
        return onnx_providers.absent(engine.TENSORRT)

    def environment(self, about: About) -> Mapping[str, str]:
        return onnx_graph.environment(about)

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        import onnxruntime

        if engine.TENSORRT not in onnxruntime.get_available_providers():
            raise Unsupported(f"this onnxruntime has no {engine.TENSORRT}")
        with source.quiet():
            path, feeds = onnx_graph.write(model, job, into)
            if job.precision == "int8":
                _quantise(path, feeds, job)
        shapes = {fed["to"]: feeding.take(fed, model.about.example).shape[1:] for fed in feeds}
        manifest = {
            "engine": "onnxruntime",
            "file": path.name,
            "feeds": feeds,
            "outputs": onnx_graph.outputs(model, path),
            "providers": onnx_providers.tensorrt(job.precision, shapes, job.max_batch),
            "packages": source.versions(["onnxruntime"]) | onnx_providers.packages(),
            "portable": False,
        }
        _warm(into, manifest, model, job)
        return manifest


def _quantise(path: Path, feeds: onnx_graph.Feeds, job: Job) -> None:
    """TensorRT takes its int8 from the graph: products between dequantised values, whose zero points are 0."""
    quantised, nodes = onnx_quantize.static(path, feeds, job, symmetric=True)
    if not nodes:
        raise Unsupported(onnx_quantize.NOTHING)
    shutil.copyfile(quantised, path)


def _warm(folder: Path, manifest: dict[str, Any], model: Model, job: Job) -> None:
    """Build the engines by running them, so that a replica finds them in the cache instead of building for minutes."""
    cache = folder / onnx_providers.cache_name()
    cache.mkdir()
    warm = engine.load(folder, manifest, job.threads)
    for rows in sorted({1, 2, job.max_batch}):
        warm.run({name: np.resize(value, (rows, *value.shape[1:])) for name, value in model.about.example.items()})
    if not any(cache.glob("*.engine")):
        raise Unsupported("TensorRT built no engine: it takes no part of this graph")

"""ONNX Runtime, for every flavour that has a way to ONNX. The graph is optimised for the machine when it is loaded.

An optimised graph is not shipped: loading it saved 5 of 40 ms, and its layouts (NCHWc) belong to one kind of CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import source
from ..engines.onnx import CPU, CUDA
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import onnx_fused, onnx_graph, onnx_half, onnx_providers, onnx_quantize

_REFUSED: dict[tuple[Device, Precision], str] = {
    ("cpu", "fp16"): "ONNX Runtime's CPU kernels compute in fp32 and cast fp16 to and fro",
    ("cpu", "bf16"): "ONNX Runtime's CPU kernels know no bf16",
    ("cuda", "bf16"): "ONNX Runtime converts no graph to bf16; the target tensorrt computes in it",
    ("cuda", "int8"): "ONNX Runtime's CUDA kernels compute int8 graphs in floats; the target tensorrt has int8 kernels",
}


class OnnxRuntime(Compiler):
    target = "onnxruntime"

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if refused := onnx_graph.refusal(about) or source.missing({"onnxruntime"}):
            return refused
        if device == "cuda" and about.flavour in onnx_graph.CLASSIC:
            return f"ONNX Runtime's operators for {about.flavour} models run on the CPU only"
        if precision == "int8" and about.flavour in onnx_graph.BOOSTED:
            return onnx_quantize.TREES
        return _REFUSED.get((device, precision)) or onnx_providers.absent(CUDA if device == "cuda" else CPU)

    def environment(self, about: About) -> Mapping[str, str]:
        return onnx_graph.environment(about)

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        with source.quiet():
            path, feeds = onnx_graph.write(model, job, into)
            found: dict[str, Any] = {}
            if job.precision == "fp16":
                onnx_half.halve(path)
            if job.precision == "int8":
                found["quantized"] = onnx_quantize.quantise(path, feeds, job)
            if job.device == "cuda":
                found["attention"] = onnx_fused.attention(model, path, feeds, job)
            else:
                found["fused"] = onnx_fused.at_load(path)
        return {
            "engine": "onnxruntime",
            "file": path.name,
            "feeds": feeds,
            "outputs": onnx_graph.outputs(model, path),
            "providers": onnx_providers.plain(job.device),
            "packages": source.versions(["onnxruntime"]),
            "portable": True,
            **found,
        }

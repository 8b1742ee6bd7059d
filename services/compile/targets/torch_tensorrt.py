"""Torch-TensorRT: an exported program whose parts are TensorRT's engines, built for this GPU.

No GPU was at hand: no test has run it. See docs/limits.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import source
from ..engines import torch_lower
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import torch_program, torch_refusals

FILE = "model.ep"


class TorchTensorRt(Compiler):
    target = "torch-tensorrt"
    heavy = True

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if precision == "int8":
            return "int8 engines come from a quantised ONNX graph: the target tensorrt"
        if device != "cuda":
            return "TensorRT is for NVIDIA GPUs"
        refused = torch_refusals.refusal(about, precision, device) or torch_refusals.held(about)
        return refused or source.missing({"torch_tensorrt", "tensorrt"})

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        torch_program.no_script(model)
        feeds, outputs = source.tensors(model), source.outputs(model)
        with source.quiet():
            lower = _write(model, job, feeds, into / FILE)
        return {
            "engine": "torch-tensorrt",
            "file": FILE,
            "feeds": feeds,
            "outputs": outputs,
            "device": job.device,
            "lower": lower,
            "packages": source.versions(["torch", "torch_tensorrt", "tensorrt"]),
            "portable": False,
        }


def _write(model: Model, job: Job, feeds: list[dict[str, Any]], path: Path) -> dict[str, str] | None:
    """Engines for batches of 1 to max, best at max; each operation in the precision that the module has there."""
    import torch
    import torch_tensorrt  # type: ignore[import-not-found, unused-ignore]

    module, lower = torch_program.fresh(model, job.device), None
    if job.precision in torch_lower.DTYPES:
        module, lower = torch_program.lower(model, job, feeds)
    example = torch_program.arguments(model, feeds, device=job.device)
    inputs = [
        torch_tensorrt.Input(
            min_shape=(1, *tensor.shape[1:]),
            opt_shape=(job.max_batch, *tensor.shape[1:]),
            max_shape=(job.max_batch, *tensor.shape[1:]),
            dtype=tensor.dtype,
        )
        for tensor in example
    ]
    with torch.no_grad():
        engines = torch_tensorrt.dynamo.compile(torch_program.exported(module, example), arg_inputs=inputs)
        torch_tensorrt.save(engines, str(path), output_format="exported_program", arg_inputs=inputs)
    return lower

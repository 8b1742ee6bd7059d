"""PyTorch to ONNX through an exported program whose batch dimension is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import source
from ..words import Model
from . import torch_program

NEEDS = ("torch", "onnxscript")

ATTENTION = 23
"""The first opset with an operator for attention; before it attention is spelt out."""


def write(model: Model, path: Path, opset: int | None = None) -> list[dict[str, Any]]:
    """Write the ONNX file; returns what feeds each of its inputs. The exporter chooses the opset unless told."""
    import torch

    feeds = source.tensors(model)
    exported = torch.onnx.export(torch_program.program(model, feeds), dynamo=True, verbose=False, opset_version=opset)
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported.save(str(path))
    inputs = [i.name for i in exported.model.graph.inputs]
    if len(inputs) != len(feeds):
        raise ValueError(f"the program has {len(inputs)} inputs, the signature {len(feeds)}")
    return [fed | {"to": name} for fed, name in zip(feeds, inputs, strict=True)]

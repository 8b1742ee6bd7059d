"""Keras to ONNX through Keras's torch backend: its TensorFlow backend needs tf2onnx, which is no longer made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import source
from ..engines.feeds import take
from ..engines.keras import caller
from ..errors import Unsupported
from ..words import Model
from . import from_keras

NEEDS = ("keras", "torch", "onnxscript")
ENVIRONMENT = {"KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cpu"}

_ROWS = 5
"""Of the traced example; torch.export freezes sizes 0 and 1."""


def write(model: Model, path: Path) -> list[dict[str, Any]]:
    """Write the ONNX file; returns what feeds each of its inputs."""
    import keras
    import torch

    if keras.backend.backend() != "torch":
        raise Unsupported(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=torch")
    form, feeds = from_keras.fed(model)
    names = [want["name"] for want in source.outputs(model)]
    example = {k: np.resize(v, (_ROWS, *v.shape[1:])) for k, v in model.about.example.items()}
    arguments = tuple(torch.from_numpy(take(fed, example)) for fed in feeds)
    free = (tuple({0: torch.export.Dim("batch")} for _ in arguments),)
    with torch.no_grad(), from_keras.alone():
        program = torch.export.export(_module(model.native, form, feeds, names), arguments, dynamic_shapes=free)
    exported = torch.onnx.export(program, dynamo=True, verbose=False, report=False, output_names=names)
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported.save(str(path))
    inputs = [i.name for i in exported.model.graph.inputs]
    return [fed | {"to": name} for fed, name in zip(feeds, inputs, strict=True)]


def _module(native: Any, form: str, feeds: list[dict[str, Any]], names: list[str]) -> Any:
    """Keras's `__call__` takes anything, which torch.export does not follow; outputs in the source's order."""
    import torch

    call = caller(native, form, feeds)

    class Wrapped(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.native = native

        def forward(self, *values: Any) -> Any:
            answer = call(*values)
            return [answer[name] for name in names] if isinstance(answer, dict) else answer

    return Wrapped().eval()

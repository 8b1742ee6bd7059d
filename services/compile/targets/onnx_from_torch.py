"""PyTorch to ONNX through an exported program whose batch dimension is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import source
from ..engines.feeds import take
from ..words import Model

NEEDS = ("torch", "onnxscript")

_ROWS = 5
"""Of the traced example. torch.export freezes sizes 0 and 1, so an example of one row must never be traced as it is."""

ATTENTION = 23
"""The first opset with an operator for attention; before it attention is spelt out."""


def write(model: Model, path: Path, opset: int | None = None) -> list[dict[str, Any]]:
    """Write the ONNX file; returns what feeds each of its inputs. The exporter chooses the opset unless told."""
    import torch

    feeds = source.tensors(model)
    exported = torch.onnx.export(_program(model, feeds), dynamo=True, verbose=False, opset_version=opset)
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported.save(str(path))
    inputs = [i.name for i in exported.model.graph.inputs]
    if len(inputs) != len(feeds):
        raise ValueError(f"the program has {len(inputs)} inputs, the signature {len(feeds)}")
    return [fed | {"to": name} for fed, name in zip(feeds, inputs, strict=True)]


def _program(model: Model, feeds: list[dict[str, Any]]) -> Any:
    import torch

    if model.about.storage == "pt2":
        return torch.export.load(model.about.file)
    example = {k: np.resize(v, (_ROWS, *v.shape[1:])) for k, v in model.about.example.items()}
    arguments = tuple(torch.from_numpy(take(fed, example)) for fed in feeds)
    batch = torch.export.Dim("batch")
    return torch.export.export(model.native.eval(), arguments, dynamic_shapes=_free(model.native, arguments, batch))


def _free(module: Any, arguments: tuple[Any, ...], batch: Any) -> Any:
    """The first dimension of each argument is `batch`; a `forward(*args)` takes them as one tuple."""
    import inspect

    each = tuple({0: batch} for _ in arguments)
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    return (each,) if kinds and kinds[0] is inspect.Parameter.VAR_POSITIONAL else each

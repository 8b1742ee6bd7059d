"""An ONNX model as it is; weights that lay beside it are in memory by now and go into the one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engines.feeds import feed
from ..words import Input, Model

NEEDS: tuple[str, ...] = ()


def write(model: Model, path: Path) -> list[dict[str, Any]]:
    import onnx

    onnx.save_model(model.native, str(path))
    fields = {i.name: i for i in model.about.inputs}
    graph = _graph_inputs(model.native)
    if len(graph) > 1:
        return [_one_feed(fields[name], name, dtype, rank) for name, dtype, rank in graph]
    name, dtype, rank = graph[0]
    if len(fields) > 1:
        return [feed(tuple(fields), dtype, "matrix", name)]
    return [_one_feed(next(iter(fields.values())), name, dtype, rank)]


def _graph_inputs(native: Any) -> list[tuple[str, str, int]]:
    """Name, dtype and rank of what must be fed."""
    from onnx.helper import tensor_dtype_to_np_dtype

    weights = {w.name for w in native.graph.initializer}
    found = []
    for given in native.graph.input:
        if given.name not in weights:
            tensor = given.type.tensor_type
            found.append((given.name, tensor_dtype_to_np_dtype(tensor.elem_type).name, len(tensor.shape.dim)))
    return found


def _one_feed(given: Input, name: str, dtype: str, rank: int) -> dict[str, Any]:
    """A column goes in as a matrix of width 1 where the graph wants two dimensions."""
    return feed([given.name], dtype, "column" if rank > len(given.shape) else "tensor", name)

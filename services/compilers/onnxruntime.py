"""ONNX Runtime, for every flavour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate.registry.words import SourceModel
from lockgate.services.compilers import source
from lockgate.services.serving.engines.feeds import feed
from lockgate.services.serving.fields import Field

FILE = "model.onnx"
_NEEDS = {
    "pytorch": ("onnx", "onnxruntime", "torch", "onnxscript"),
    "sklearn": ("onnx", "onnxruntime", "sklearn", "skl2onnx"),
    "onnx": ("onnx", "onnxruntime"),
}


class OnnxRuntime:
    target = "onnxruntime"

    def supports(self, model: SourceModel) -> str | None:
        if absent := source.missing(_NEEDS[model.fetched.flavour]):
            return absent
        if type(model.native).__name__ in ("RecursiveScriptModule", "ScriptModule"):
            return "a TorchScript module cannot be exported to ONNX"
        return None

    def compile(self, model: SourceModel, into: Path) -> Mapping[str, Any]:
        with source.quiet():
            feeds = _WRITERS[model.fetched.flavour](model, into / FILE)
        return {
            "engine": "onnxruntime",
            "file": FILE,
            "feeds": feeds,
            "outputs": _outputs(model, into / FILE),
            "providers": ["CPUExecutionProvider"],
            "packages": source.versions(["onnxruntime"]),
        }


def _pytorch(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    from lockgate.services.compilers import torch_onnx

    return torch_onnx.write(model, path)


def _sklearn(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    from lockgate.services.compilers import sklearn_onnx

    return sklearn_onnx.write(model, path)


def _onnx(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    """The model as it is; weights that lay beside it are in memory by now and go into the one file."""
    import onnx

    onnx.save_model(model.native, str(path))
    fields = {f.name: f for f in source.schema(model).fields}
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


def _one_feed(field: Field, name: str, dtype: str, rank: int) -> dict[str, Any]:
    """A column goes in as a matrix of width 1 where the graph wants two dimensions."""
    return feed([field.name], dtype, "column" if rank > len(field.shape) else "tensor", name)


_WRITERS = {"pytorch": _pytorch, "sklearn": _sklearn, "onnx": _onnx}


def _outputs(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    """The graph's outputs under the source's names: by name where they are the same, else in order."""
    import onnx

    names = [o.name for o in onnx.load_model(str(path), load_external_data=False).graph.output]
    wanted = source.outputs(model)
    if len(wanted) > len(names):
        raise ValueError(f"the source has {len(wanted)} outputs, the ONNX graph {len(names)}")
    keep_shape = model.fetched.flavour != "sklearn"  # scikit-learn answers (n,) where ONNX answers (n, 1)
    for i, want in enumerate(wanted):
        want["from"] = want["name"] if want["name"] in names else names[i]
        if keep_shape:
            want["row_shape"] = None
    return wanted

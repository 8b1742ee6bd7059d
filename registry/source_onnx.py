"""ONNX: the graph as it is, run by ONNX Runtime on the CPU with every optimisation off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .checked import inside
from .errors import Unusable
from .naming import Input, inputs, matrix
from .words import Arrays, FetchedModel, SourceModel

_QUIET = 3  # errors only
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def load(fetched: FetchedModel, flavour: Mapping[str, Any]) -> SourceModel:
    import onnx

    file = inside(fetched.path, str(flavour.get("data", "model.onnx")))
    native = onnx.load(str(file))  # first: it refuses weights from outside of the folder, as not every runtime does
    session = _session(str(file))
    found, wanted = inputs(fetched.signature), session.get_inputs()
    _match(fetched, found, [w.name for w in wanted])
    names = [o.name for o in session.get_outputs()]

    def run(x: Arrays) -> Arrays:
        answers = session.run(names, _feeds(x, found, wanted))
        return {name: _array(value) for name, value in zip(names, answers, strict=True)}

    return SourceModel(fetched, native, "onnx", str(file.relative_to(fetched.path.resolve())), run)


def _session(path: str) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _QUIET
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _match(fetched: FetchedModel, found: tuple[Input, ...], graph: list[str]) -> None:
    """A lone graph input takes whatever the signature calls it; several need the graph's own names."""
    if len(graph) == 1 and (len(found) == 1 or found[0].column):
        return
    if set(graph) != {i.name for i in found}:
        raise Unusable(
            f"The signature of {fetched.version} names the inputs {', '.join(i.name for i in found)}, but its graph "
            f"takes {', '.join(graph)}. Log it again with an input_example that is a dict of the graph's names."
        )


def _feeds(x: Arrays, found: tuple[Input, ...], graph: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    if len(graph) == 1 and found[0].column and len(found) > 1:
        return {graph[0].name: matrix(x, found, _DTYPES.get(graph[0].type, found[0].dtype))}
    if len(graph) == 1:
        return {graph[0].name: _fed(x[found[0].name], graph[0])}
    return {g.name: _fed(x[g.name], g) for g in graph}


def _fed(values: np.ndarray[Any, Any], graph: Any) -> np.ndarray[Any, Any]:
    """A column goes in as `(rows, 1)` where the graph wants that, and a float in the graph's precision."""
    if values.ndim == 1 and len(graph.shape) == 2:
        values = values[:, None]
    dtype = _DTYPES.get(graph.type) if values.dtype.kind == "f" else None
    return np.ascontiguousarray(values, dtype=dtype)


def _array(value: Any) -> np.ndarray[Any, Any]:
    """skl2onnx's ZipMap answers a list of {class: probability}; its columns are the classes in the graph's order."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return np.array([list(row.values()) for row in value])
    return np.asarray(value)

"""scikit-learn to ONNX. The inputs' own types are tried first, then 32 bit floats, which more operators know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..engines.feeds import feed, take
from ..words import Input, Model

NEEDS = ("sklearn", "skl2onnx")
Feeds = list[dict[str, Any]]


def write(model: Model, path: Path) -> Feeds:
    """Write the ONNX file; returns what feeds each of its inputs. Raises the last try's error."""
    layouts = _layouts(model.native, model.about.inputs)
    tries = [layouts, [fed | {"dtype": "float32"} if _numeric(fed) else fed for fed in layouts]]
    for i, feeds in enumerate(tries):
        try:
            graph = _convert(model, feeds).SerializeToString()
            _runs(graph, model, feeds)
        except Exception:
            if i == len(tries) - 1:
                raise
        else:
            path.write_bytes(graph)
            return feeds
    raise AssertionError


def _layouts(native: Any, inputs: tuple[Input, ...]) -> Feeds:
    """A matrix where the model takes all columns alike; single columns where it picks them by name or type."""
    dtypes = [i.dtype for i in inputs]
    if not inputs[0].column:
        return [feed([f.name], f.dtype, to=f"x{i}") for i, f in enumerate(inputs)]
    if "object" in dtypes or _picks_columns(native):
        return [feed([f.name], f.dtype, "column", f.name) for f in inputs]
    return [feed([f.name for f in inputs], np.result_type(*dtypes).name, "matrix", "x")]


def _picks_columns(native: Any) -> bool:
    from sklearn.compose import ColumnTransformer

    parts = [native, *(native.get_params(deep=True).values() if hasattr(native, "get_params") else ())]
    return any(isinstance(part, ColumnTransformer) for part in parts)


def _numeric(fed: dict[str, Any]) -> bool:
    return fed["dtype"] not in ("object", "bool")


def _convert(model: Model, feeds: Feeds) -> Any:
    from skl2onnx import convert_sklearn
    from sklearn.base import is_classifier

    options = {id(model.native): {"zipmap": False}} if is_classifier(model.native) else None
    types = [(fed["to"], _type(fed, take(fed, model.about.example))) for fed in feeds]
    return convert_sklearn(model.native, initial_types=types, options=options)


def _type(fed: dict[str, Any], value: np.ndarray[Any, Any]) -> Any:
    from skl2onnx.common import data_types as onnx_types

    names = {
        "float32": "FloatTensorType",
        "float64": "DoubleTensorType",
        "int32": "Int32TensorType",
        "int64": "Int64TensorType",
        "bool": "BooleanTensorType",
        "object": "StringTensorType",
    }
    if fed["dtype"] not in names:
        raise ValueError(f"scikit-learn models with {fed['dtype']} inputs are not exported to ONNX")
    return getattr(onnx_types, names[fed["dtype"]])([None, *value.shape[1:]])


def _runs(graph: bytes, model: Model, feeds: Feeds) -> None:
    """Some converted graphs hold an operator for which ONNX Runtime has no kernel at this type: found out here."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    session.run(None, {fed["to"]: take(fed, model.about.example) for fed in feeds})

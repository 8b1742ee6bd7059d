"""int8 for ONNX graphs, by ONNX Runtime's two methods; which one is quicker and near enough is measured.

static   the ranges of all activations are fixed from the calibration rows: best for convolutions
dynamic  each activation's range is found at each call: best for transformers, exact where ranges vary
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import fingerprint
from ..engines.onnx import CPU
from ..errors import Unsupported
from ..words import Arrays, Job, Tolerance
from . import onnx_graph, onnx_measure

TREES = "a tree compares with thresholds: there is nothing to quantise"
NOTHING = "the graph has no matrix product or convolution with weights: there is nothing to quantise"
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
_INTEGER = ("MatMulInteger", "ConvInteger", "QAttention", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul")
_NEAR = Tolerance().margin
_ROWS = 128
_BATCH = 8


def quantise(path: Path, feeds: onnx_graph.Feeds, job: Job) -> dict[str, Any]:
    """The graph in place; returns what was tried, and `method`: the quickest within 5 % of the scale, else the nearest.

    Parity judges what is chosen here by the spec's own margin.
    """
    forms = {"static": path.with_name("static.onnx"), "dynamic": path.with_name("dynamic.onnx")}
    rows = _finite(job.calibration)
    ready = prepared(path)
    nodes = {"static": static(ready, forms["static"], feeds, rows), "dynamic": _dynamic(ready, forms["dynamic"])}
    forms = {name: form for name, form in forms.items() if nodes[name]}
    if not forms:
        raise Unsupported(NOTHING)
    bench = onnx_measure.Bench(feeds, rows, [CPU], job.threads)
    found = onnx_measure.compare({"fp32": path, **forms}, bench)
    near = [name for name in forms if found[name].error <= _NEAR]
    best = max(near, key=lambda m: found[m].speed) if near else min(forms, key=lambda m: found[m].error)
    forms.pop(best).replace(path)
    for left in (ready, *forms.values()):
        left.unlink()
    tried = [{"method": name, "nodes": nodes.get(name, 0), **form.record()} for name, form in found.items()]
    return {"method": best, "tried": tried}


def prepared(path: Path) -> Path:
    """A copy with constants folded and batch norms in their convolutions, beside `path`.

    Its stored shapes are dropped: the quantiser infers its own and fails where torch's exporter saw others.
    """
    import onnx
    import onnxruntime

    _quantisable(onnx.load_model(str(path), load_external_data=False))
    ready = path.with_name("prepared.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(ready)
    onnxruntime.InferenceSession(str(path), options, providers=[CPU])
    model = onnx.load_model(str(ready))
    model.graph.ClearField("value_info")
    onnx.save_model(model, str(ready))
    return ready


def _quantisable(model: Any) -> None:
    operators = {node.op_type for node in model.graph.node}
    if any(name.startswith("TreeEnsemble") for name in operators):
        raise Unsupported(TREES)
    if operators & {"DequantizeLinear", *_INTEGER}:
        raise Unsupported("the model is quantised already")
    weights = {w.name for w in model.graph.initializer}
    if not any(n.op_type in (*_PRODUCTS, "LSTM", "Attention") and weights & set(n.input) for n in model.graph.node):
        raise Unsupported(NOTHING)


def static(ready: Path, to: Path, feeds: onnx_graph.Feeds, rows: Arrays, *, symmetric: bool = False) -> int:
    """Returns how many products compute in int8. `symmetric`, for TensorRT: zero points are 0."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        str(ready),
        str(to),
        _reader(iter(onnx_graph.calls(feeds, rows, _ROWS, _BATCH))),
        quant_format=QuantFormat.QDQ,
        # Unsigned activations: 4.8 ms for a ResNet-18 where signed ones, the default, take 12.0.
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=not symmetric and _saturates(),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
    )
    return _quantised(to)


def _reader(calls: Iterator[dict[str, Any]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def get_next(self) -> dict[str, Any] | None:
            return next(calls, None)

    return Reader()


def _dynamic(ready: Path, to: Path) -> int:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    quantize_dynamic(
        str(ready),
        str(to),
        op_types_to_quantize=[name for name in IntegerOpsRegistry if name != "Conv"],  # ConvInteger: 5 times slower
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=_saturates(),
    )
    return _quantised(to)


def _saturates() -> bool:
    """x86 without VNNI sums pairs of products in 16 bits, which overflow unless weights have 7 bits."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and not any("vnni" in flag for flag in fingerprint.cpu_features())


def _quantised(path: Path) -> int:
    import onnx

    graph = onnx.load_model(str(path), load_external_data=False).graph
    back = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return sum(n.op_type in _INTEGER or (n.op_type in _PRODUCTS and back >= set(n.input[:2])) for n in graph.node)


def _finite(rows: Arrays) -> Arrays:
    """Ranges are of numbers: rows with missing values calibrate nothing."""
    whole = np.ones(len(next(iter(rows.values()))), bool)
    for value in rows.values():
        if value.dtype.kind == "f":
            whole &= np.isfinite(value).reshape(len(value), -1).all(axis=1)
    if not whole.any():
        raise Unsupported("every calibration row has missing values, so activations have no range")
    return {name: value[whole] for name, value in rows.items()}

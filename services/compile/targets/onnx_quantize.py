"""int8 for ONNX graphs, by ONNX Runtime's two methods; which one is quicker and near enough is measured.

static   the ranges of all activations are fixed from the calibration rows: best for convolutions
dynamic  each activation's range is found at each call: best for transformers, exact where ranges vary
"""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import fingerprint, source
from ..engines.onnx import CPU
from ..errors import NotMade, Unsupported
from ..words import Arrays, Job
from . import onnx_graph, onnx_measure

TREES = "a tree compares with thresholds: there is nothing to quantise"
NOTHING = "the graph has no matrix product or convolution with float32 weights: there is nothing to quantise"
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
_INTEGER = ("MatMulInteger", "ConvInteger", "QAttention", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul")
Made = tuple[Path, int] | str
"""A quantised graph and how many of its products compute in int8; or why there is none."""
_ROWS = 128
_BATCH = 8


def quantise(path: Path, feeds: onnx_graph.Feeds, job: Job) -> dict[str, Any]:
    """The graph in place; returns what was tried, and `method`: the quickest within the margin, else the nearest.

    Parity judges what is chosen here by the spec's own margin.
    """
    ready, varied = _prepared(path, job), path.with_name("dynamic.onnx")
    made: dict[str, Made] = {
        "static": _attempt(lambda: static(path, feeds, job)),
        "dynamic": _attempt(lambda: _dynamic(ready, varied)),
    }
    forms = {name: one[0] for name, one in made.items() if not isinstance(one, str) and one[1]}
    failed = {name: one for name, one in made.items() if isinstance(one, str)}
    if not forms:
        said = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise Unsupported(f"ONNX Runtime's quantiser failed: {said}" if said else NOTHING)
    bench = onnx_measure.Bench(feeds, _finite(job.calibration), [CPU], job.threads)
    found = onnx_measure.compare({"fp32": path, **forms}, bench)
    best = _best({name: found[name] for name in forms}, job.margin)
    shutil.copyfile(forms[best], path)
    varied.unlink(missing_ok=True)
    tried = [{"method": name, "nodes": _nodes(made.get(name)), **form.record()} for name, form in found.items()]
    return {"method": best, "tried": tried + [{"method": name, "failed": why} for name, why in failed.items()]}


def _best(forms: Mapping[str, onnx_measure.Form], margin: float) -> str:
    near = [name for name, form in forms.items() if form.error <= margin]
    return max(near, key=lambda name: forms[name].speed) if near else min(forms, key=lambda name: forms[name].error)


def _attempt(make: Callable[[], tuple[Path, int]]) -> Made:
    """The quantiser has its bugs; one method's must not cost the other."""
    try:
        return make()
    except NotMade as failed:
        return str(failed)
    except Unsupported:
        raise
    except Exception as failed:  # noqa: BLE001 - it raises anything
        return f"{type(failed).__name__}: {(str(failed).splitlines() or [''])[0][:200]}"


def _nodes(made: Made | None) -> int:
    return made[1] if isinstance(made, tuple) else 0


def static(path: Path, feeds: onnx_graph.Feeds, job: Job, *, symmetric: bool = False) -> tuple[Path, int]:
    """The quantised graph, not to be changed, and how many of its products compute in int8.

    `symmetric`, for TensorRT: activations are signed and their zero points 0.
    """
    ready = _prepared(path, job)
    calls = onnx_graph.calls(feeds, _finite(job.calibration), _ROWS, _BATCH)
    name = "onnx-symmetric" if symmetric else "onnx-static"
    with _hushed():
        place, nodes = source.once(job.shared, name, partial(_static, ready, calls, symmetric))
    return place / onnx_graph.FILE, nodes


def _prepared(path: Path, job: Job) -> Path:
    place, _ = source.once(job.shared, "onnx-prepared", lambda into: _prepare(path, into / onnx_graph.FILE))
    return place / onnx_graph.FILE


def _prepare(path: Path, ready: Path) -> None:
    """A copy with constants folded and batch norms in their convolutions.

    Its stored shapes are dropped: the quantiser infers its own and fails where torch's exporter saw others.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(ready)
    onnxruntime.InferenceSession(str(path), options, providers=[CPU])
    model = onnx.load_model(str(ready))
    _quantisable(model)
    model.graph.ClearField("value_info")
    onnx.save_model(model, str(ready))


def _quantisable(model: Any) -> None:
    operators = {node.op_type for node in model.graph.node}
    if any(name.startswith("TreeEnsemble") for name in operators):
        raise Unsupported(TREES)
    if operators & {"DequantizeLinear", *_INTEGER}:
        raise Unsupported("the model is quantised already")
    weights = {w.name for w in model.graph.initializer if w.data_type == w.FLOAT}
    if not any(n.op_type in (*_PRODUCTS, "LSTM", "Attention") and weights & set(n.input) for n in model.graph.node):
        raise Unsupported(NOTHING)


def _static(ready: Path, calls: list[dict[str, Any]], symmetric: bool, into: Path) -> int:  # noqa: FBT001
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    operators = sorted({*QDQRegistry, *QLinearOpsRegistry})
    quantize_static(
        str(ready),
        str(into / onnx_graph.FILE),
        _reader(iter(calls)),
        op_types_to_quantize=[name for name in operators if not name.endswith("Normalization")],  # as quick, and nearer
        quant_format=QuantFormat.QDQ,
        # Unsigned activations: 4.8 ms for a ResNet-18 where signed ones, the default, take 12.0.
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=not symmetric and _saturates(),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
    )
    return _quantised(into / onnx_graph.FILE)


def _reader(calls: Iterator[dict[str, Any]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def get_next(self) -> dict[str, Any] | None:
            return next(calls, None)

    return Reader()


def _dynamic(ready: Path, to: Path) -> tuple[Path, int]:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    with _hushed():
        quantize_dynamic(
            str(ready),
            str(to),
            op_types_to_quantize=[name for name in IntegerOpsRegistry if name != "Conv"],  # ConvInteger: 5 times slower
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=_saturates(),
        )
    return to, _quantised(to)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """The quantiser advises on its root logger what is done here already."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


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

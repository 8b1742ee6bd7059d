"""Fusions of transformers.

On the CPU, ONNX Runtime finds them itself when it loads a graph; its transformers optimizer and the Attention operator
(opset 23) added at most 2 % there, so they are tried on a GPU only. Both have bugs that end the process or refuse masks
that broadcast: each trial has a process of its own, and a form is kept only when it answers the same, sooner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .. import source
from ..engines.onnx import CPU
from ..words import Job, Model
from . import onnx_graph, onnx_half, onnx_measure, onnx_providers

_NEAR = {"fp32": 1e-3}
_NEAR_HALF = 2e-2
_GAIN = 1.05
_FUSED = ("Attention", "MultiHeadAttention", "PackedAttention", "EmbedLayerNormalization", "SkipLayerNormalization",
          "BiasGelu", "FastGelu")  # fmt: skip


def at_load(path: Path) -> dict[str, int]:
    """How many nodes of which kind ONNX Runtime itself fuses when it loads this graph on the CPU."""
    import onnx
    import onnxruntime

    with TemporaryDirectory(dir=path.parent) as scratch:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(scratch) / "optimised.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=[CPU])
        graph = onnx.load_model(options.optimized_model_filepath, load_external_data=False).graph
    return dict(Counter(node.op_type for node in graph.node if node.domain == "com.microsoft"))


def attention(model: Model, path: Path, feeds: onnx_graph.Feeds, job: Job) -> list[dict[str, Any]]:
    """Replace the graph by the quickest of its fused forms, if one is quicker; returns what was tried.

    Each is held to the example's sizes, so a graph that takes others stays as it is.
    """
    if "Softmax" not in _operators(path) or source.free(model.about):
        return []
    ways: dict[str, Callable[[Model, Path, Path], None]] = {"optimizer": _optimised}
    if model.about.flavour == "pytorch":
        ways["operator"] = _exported
    return [_tried(name, partial(make, model, path), path, (feeds, job)) for name, make in ways.items()]


def _tried(name: str, make: Callable[[Path], None], path: Path, on: tuple[onnx_graph.Feeds, Job]) -> dict[str, Any]:
    feeds, job = on
    other = path.with_name(f"{name}.onnx")
    bench = onnx_measure.Bench(feeds, job.calibration, onnx_providers.plain(job.device), job.threads)
    try:
        make(other)
        if job.precision == "fp16" and name == "operator":
            onnx_half.halve(other)
        found = _apart({"before": path, "after": other}, bench)
    except Exception as failed:  # noqa: BLE001 - a vendor's own failure; the graph stays as it was
        other.unlink(missing_ok=True)
        return {"way": name, "kept": False, "reason": f"{type(failed).__name__}: {str(failed)[:200]}"}
    gain = found["after"].speed / found["before"].speed
    near = found["after"].error <= _NEAR.get(job.precision, _NEAR_HALF)
    kept = near and gain >= _GAIN
    nodes = {kind: count for kind, count in _operators(other).items() if kind in _FUSED}
    if kept:
        other.replace(path)
    other.unlink(missing_ok=True)
    return {"way": name, "kept": kept, "gain": round(gain, 3), "error": found["after"].error, "nodes": nodes}


def _apart(paths: dict[str, Path], bench: onnx_measure.Bench) -> dict[str, onnx_measure.Form]:
    """In a process of its own: some fused graphs abort ONNX Runtime."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(onnx_measure.compare, paths, bench).result()


def _operators(path: Path) -> Counter[str]:
    import onnx

    return Counter(node.op_type for node in onnx.load_model(str(path), load_external_data=False).graph.node)


def _optimised(model: Model, path: Path, to: Path) -> None:  # noqa: ARG001 - each way's form
    from onnxruntime.transformers import optimizer

    found = optimizer.optimize_model(
        str(path), model_type="bert", num_heads=0, hidden_size=0, opt_level=0, use_gpu=True
    )
    found.save_model_to_file(str(to))


def _exported(model: Model, path: Path, to: Path) -> None:  # noqa: ARG001 - each way's form
    from . import onnx_from_torch

    onnx_from_torch.write(model, to, opset=onnx_from_torch.ATTENTION)

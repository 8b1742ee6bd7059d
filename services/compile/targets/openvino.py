"""OpenVINO's own form of an ONNX graph, for CPUs. int8 comes from ONNX Runtime's static quantiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import fingerprint, source
from ..errors import Unsupported
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import onnx_graph, onnx_quantize

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
_NEEDS = {"bf16": {"avx512_bf16", "amx_bf16"}, "fp16": {"amx_fp16"}}
_NO_CLASSIC = "OpenVINO has no operators for classic models (trees, linear models, scalers: ai.onnx.ml)"


class OpenVino(Compiler):
    target = "openvino"

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if about.flavour in onnx_graph.BOOSTED:
            return _NO_CLASSIC
        if device != "cpu":
            return "OpenVINO runs on CPUs; the device is cuda"
        if precision in _NEEDS and not _NEEDS[precision] & fingerprint.cpu_features():
            return f"this CPU has no {precision} arithmetic"
        quantiser = {"onnxruntime"} if precision == "int8" else set()
        return onnx_graph.refusal(about) or source.missing({"openvino", *quantiser})

    def environment(self, about: About) -> Mapping[str, str]:
        return onnx_graph.environment(about)

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with source.quiet():
            path, feeds = onnx_graph.shared(model, job)
            _standard(path)
            outputs = onnx_graph.outputs(model, path)
            if job.precision == "int8":
                path, nodes = _quantised(path, feeds, job)
                found["quantized"] = {"method": "static", "tried": [{"method": "static", "nodes": nodes}]}
            _convert(path, into / "model.xml")
        return {
            "engine": "openvino",
            "file": "model.xml",
            "hint": _HINTS[job.precision],
            "feeds": feeds,
            "outputs": outputs,
            "packages": source.versions(["openvino"]),
            "portable": True,
            **found,
        }


def _standard(path: Path) -> None:
    import onnx

    graph = onnx.load_model(str(path), load_external_data=False).graph
    if classic := sorted({node.op_type for node in graph.node if node.domain == "ai.onnx.ml"}):
        raise Unsupported(f"{_NO_CLASSIC}; this graph has {', '.join(classic)}")


def _quantised(path: Path, feeds: onnx_graph.Feeds, job: Job) -> tuple[Path, int]:
    """OpenVINO has int8 kernels for a graph whose ranges are fixed, not for the dynamic method's."""
    fixed, nodes = onnx_quantize.static(path, feeds, job)
    if not nodes:
        raise Unsupported(onnx_quantize.NOTHING)
    return fixed, nodes


def _convert(path: Path, to: Path) -> None:
    """Weights stay in fp32: by default OpenVINO would store them in fp16."""
    import openvino

    model = openvino.Core().read_model(str(path))
    openvino.save_model(model, str(to), compress_to_fp16=False)

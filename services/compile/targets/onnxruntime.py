"""ONNX Runtime, for every flavour that has a way to ONNX."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .. import source
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision

FILE = "model.onnx"
_WRITERS = {
    "pytorch": "onnx_from_torch",
    "sklearn": "onnx_from_sklearn",
    "onnx": "onnx_from_onnx",
    "keras": "onnx_from_keras",
    "xgboost": "onnx_from_boosted",
    "lightgbm": "onnx_from_boosted",
}


class OnnxRuntime(Compiler):
    """Each writer has `NEEDS`, the modules it takes, and `write(model, path)`, which returns the feeds."""

    target = "onnxruntime"

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if about.flavour not in _WRITERS:
            return f"there is no way from {about.flavour} to ONNX"
        if precision != "fp32" or device != "cpu":
            return "not there yet"
        return source.missing({"onnx", "onnxruntime", *_writer(about).NEEDS})

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:  # noqa: ARG002
        with source.quiet():
            feeds = _writer(model.about).write(model, into / FILE)
        return {
            "engine": "onnxruntime",
            "file": FILE,
            "feeds": feeds,
            "outputs": outputs(model, into / FILE),
            "providers": ["CPUExecutionProvider"],
            "packages": source.versions(["onnxruntime"]),
            "portable": True,
        }


def _writer(about: About) -> Any:
    return import_module(f"{__package__}.{_WRITERS[about.flavour]}")


def outputs(model: Model, path: Path) -> list[dict[str, Any]]:
    """The graph's outputs under the source's names: by name where they are the same, else in order."""
    import onnx

    names = [o.name for o in onnx.load_model(str(path), load_external_data=False).graph.output]
    wanted = source.outputs(model)
    if len(wanted) > len(names):
        raise ValueError(f"the source has {len(wanted)} outputs, the ONNX graph {len(names)}")
    keep_shape = model.about.flavour in ("pytorch", "onnx")  # others answer (n,) where ONNX answers (n, 1)
    for i, want in enumerate(wanted):
        want["from"] = want["name"] if want["name"] in names else names[i]
        if keep_shape:
            want["row_shape"] = None
    return wanted
